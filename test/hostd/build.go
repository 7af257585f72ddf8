package hostd

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"ipmbd/test/build"
)

//go:embed hostd.c
var source []byte

// Build compiles the program and returns its path in the user's cache
// directory. Once built it is found there again; several builds at once do not
// disturb each other.
func Build() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("hostd-%x", sha256.Sum256(append(slices.Clone(source), build.Header...))))
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
	dir, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", fmt.Errorf("hostd: %w", err)
	}
	file, program := filepath.Join(dir, "hostd.c"), filepath.Join(dir, "hostd")
	err = os.WriteFile(file, source, 0o600)
	if err == nil {
		err = build.C(program, file)
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("hostd: %w", err)
	}
	return program, nil
}
