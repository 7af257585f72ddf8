package sim

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"ipmbd/i2c"
)

func listen(t *testing.T, path string) *Listener {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus.sock")
	listen(t, path)
	if _, err := Listen(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
}

func TestListenerCarriesFrames(t *testing.T) {
	for _, c := range []struct{ name, path string }{
		{"a path", filepath.Join(t.TempDir(), "bus.sock")},
		{"an abstract address", "@" + filepath.Join(t.TempDir(), "bus")},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listen(t, c.path)
			connected, err := i2c.OpenSeqpacket(c.path)
			if err != nil {
				t.Fatal(err)
			}
			defer connected.Close()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			write(t, accepted, pattern(near, 7))
			equal(t, read(t, connected, 1), [][]byte{pattern(near, 7)})
		})
	}
}

func TestListenerClose(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "bus.sock"))
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v, want net.ErrClosed", err)
	}
}
