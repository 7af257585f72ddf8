// Package build builds the programs that tests run: ipmbd, ipmbctl, and programs in C.
package build

import (
	_ "embed" // sdbus.h
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipmbd/internal/testmain"
)

// ErrTools means that no program in C can be built.
var ErrTools = errors.New("a C compiler, pkg-config and sd-bus are needed; " +
	"install them with: apt-get install gcc libc6-dev pkg-config libsystemd-dev")

// Main is a TestMain of tests that run programs. It makes a folder, which every user may
// read, has prepare build the programs in it, runs the tests, and removes the folder. It
// returns the status to exit with.
func Main(m *testing.M, prepare func(dir string) error) int {
	dir, err := os.MkdirTemp("", "test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), prepare(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return testmain.Main(m)
}

// Daemon builds ipmbd and ipmbctl in a folder, with flags of go build.
func Daemon(dir string, flags ...string) error {
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...)
	cmd := exec.Command("go", append(args, "ipmbd/cmd/ipmbd", "ipmbd/cmd/ipmbctl")...)
	cgo := "CGO_ENABLED=0"
	if slices.Contains(flags, "-race") {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Header is sdbus.h, which files that C compiles include.
//
//go:embed sdbus.h
var Header []byte

// C compiles a file in C into a program that uses sd-bus, and puts sdbus.h beside the program. The
// error is ErrTools, too, if that is not possible.
func C(program, source string) error {
	if err := os.WriteFile(filepath.Join(filepath.Dir(source), "sdbus.h"), Header, 0o600); err != nil {
		return err
	}
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libsystemd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w (pkg-config: %w) %s", ErrTools, err, strings.TrimSpace(string(flags)))
	}
	args := []string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source}
	out, err := exec.Command("cc", append(args, strings.Fields(string(flags))...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w (cc: %w) %s", ErrTools, err, strings.TrimSpace(string(out)))
	}
	return nil
}
