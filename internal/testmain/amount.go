package testmain

import (
	"os"
	"runtime/debug"
	"slices"
)

// thoroughVariable in the environment, if not empty, has tests search as long with the race
// detector as without.
const thoroughVariable = "IPMBD_THOROUGH"

// Amount is how often a test repeats what depends on chance: thorough, or quick in a program
// with the race detector, which makes a test ten times as slow.
func Amount(quick, thorough int) int {
	return amount(Race() && os.Getenv(thoroughVariable) == "", quick, thorough)
}

func amount(hurried bool, quick, thorough int) int {
	if hurried {
		return quick
	}
	return thorough
}

// Race reports whether this program has the race detector.
func Race() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
