package readfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFiles(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	write := func(name, text string) string {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	for _, name := range []string{"fifo", "held"} {
		if err := syscall.Mkfifo(path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writer, err := os.OpenFile(path("held"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { writer.Close() })
	for name, test := range map[string]struct {
		path string
		want string
		err  error
	}{
		"file":                             {write("file", "12"), "12", nil},
		"file of the longest size":         {write("full", strings.Repeat("x", 16)), strings.Repeat("x", 16), nil},
		"longer file":                      {write("long", strings.Repeat("x", 17)), "", ErrTooLong},
		"file without an end":              {"/dev/zero", "", ErrTooLong},
		"no file":                          {path("absent"), "", fs.ErrNotExist},
		"folder":                           {folder, "", syscall.EISDIR},
		"FIFO that no process writes to":   {path("fifo"), "", nil},
		"FIFO whose writer writes nothing": {path("held"), "", ErrTooSlow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, read := range []func(string, int) ([]byte, error){Bounded, InTime} {
				got, err := read(test.path, 16)
				if string(got) != test.want || !errors.Is(err, test.err) {
					t.Errorf("%q, %v", got, err)
				}
				if err != nil && !strings.Contains(err.Error(), test.path) {
					t.Errorf("the error does not name the file: %v", err)
				}
			}
		})
	}
}
