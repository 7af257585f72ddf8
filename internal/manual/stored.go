package manual

import (
	"os"
	"path/filepath"
	"testing"
)

// Stored compares a file with what it is to hold; with IPMBD_UPDATE in the
// environment it is written.
func Stored(t testing.TB, path, text string) {
	t.Helper()
	if os.Getenv("IPMBD_UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(stored) != text {
		t.Errorf("%s is out of date: IPMBD_UPDATE=1 go test ./... makes it anew, it would be:\n%s", path, text)
	}
}
