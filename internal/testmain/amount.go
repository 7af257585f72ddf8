package testmain

import "os"

// thoroughVariable in the environment, if not empty, has the tests search long.
const thoroughVariable = "IPMBD_THOROUGH"

// Amount is how often a test repeats what depends on chance: quick, or thorough for a run that
// may take its time.
func Amount(quick, thorough int) int {
	if os.Getenv(thoroughVariable) == "" {
		return quick
	}
	return thorough
}
