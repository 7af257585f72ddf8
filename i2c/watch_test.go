package i2c

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWatchSeesANodeCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipmb-4")
	watch, err := OpenWatch(path)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
