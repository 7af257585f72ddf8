package hostd

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed hostd.c
var source []byte

// ErrTools: what the program is compiled with is not there.
var ErrTools = errors.New("hostd needs a C compiler, pkg-config and sd-bus; " +
	"install them with: apt-get install gcc libc6-dev pkg-config libsystemd-dev")

// Build compiles the program and returns its path in the user's cache
// directory. Once built it is found there again; several builds at once do not
// disturb each other.
func Build() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("hostd-%x", sha256.Sum256(source)))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fresh, err := compile(dir)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(filepath.Dir(fresh))
	if err := os.Rename(fresh, path); err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	return path, nil
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		// There need be no home where tests run.
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Geteuid()))
	}
	dir := filepath.Join(base, "ipmbd-test")
	return dir, os.MkdirAll(dir, 0o700)
}

// compile makes the program in a new directory under dir.
func compile(dir string) (string, error) {
	flags, err := packageFlags()
	if err != nil {
		return "", err
	}
	dir, err = os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	file, program := filepath.Join(dir, "hostd.c"), filepath.Join(dir, "hostd")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	args := append([]string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, file}, flags...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", toolError("cc", err, out)
	}
	return program, nil
}

func packageFlags() ([]string, error) {
	cmd := exec.Command("pkg-config", "--cflags", "--libs", "libsystemd")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, toolError("pkg-config", err, out)
	}
	return strings.Fields(string(out)), nil
}

func toolError(tool string, err error, out []byte) error {
	return fmt.Errorf("%w (%s: %w) %s", ErrTools, tool, err, strings.TrimSpace(string(out)))
}
