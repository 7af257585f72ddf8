package chardev

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ptmx is a character device with poll that every Linux has.
const ptmx = "/dev/ptmx"

func TestOpenRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"no node", filepath.Join(t.TempDir(), "absent"), os.ErrNotExist},
		{"regular file", plain, ErrNotDevice},
		{"device without poll", os.DevNull, os.ErrNoDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Open(c.path); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestReadEndsWhenTheNodeGoes(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace func(t *testing.T, node string)
	}{
		{"node removed", func(*testing.T, string) {}},
		{"another node in its place", func(t *testing.T, node string) {
			if err := os.Symlink(os.DevNull, node); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := filepath.Join(t.TempDir(), "node")
			if err := os.Symlink(ptmx, node); err != nil {
				t.Fatal(err)
			}
			d, err := Open(node)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			d.look = time.Millisecond
			if err := d.lookLater(); err != nil {
				t.Fatal(err)
			}

			if err := os.Remove(node); err != nil {
				t.Fatal(err)
			}
			c.replace(t, node)
			for range 2 {
				if err := d.Read(nothing); err != io.EOF {
					t.Fatalf("got %v, want io.EOF", err)
				}
			}
		})
	}
}

func TestReadGoesOnWhileTheNodeIsThere(t *testing.T) {
	looks := 0
	d, far := standIn(t, time.Millisecond, func() bool {
		looks++
		return looks == 3
	})
	defer far.Close()
	defer d.Close()
	if err := d.Read(nothing); err != io.EOF || looks != 3 {
		t.Fatalf("got %v after %d looks, want io.EOF after 3", err, looks)
	}
}

func TestReadTakesWhatComes(t *testing.T) {
	d, far := standIn(t, lookInterval, func() bool { return false })
	defer far.Close()
	defer d.Close()
	if _, err := far.Write([]byte("frame")); err != nil {
		t.Fatal(err)
	}
	var got string
	err := d.Read(func(fd uintptr) bool {
		b := make([]byte, 64)
		n, err := unix.Read(int(fd), b)
		if err == unix.EAGAIN {
			return false
		}
		got = string(b[:n])
		return true
	})
	if err != nil || got != "frame" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestCloseEndsABlockedRead(t *testing.T) {
	d, far := standIn(t, lookInterval, func() bool { return false })
	defer far.Close()
	asked := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- d.Read(func(uintptr) bool {
			close(asked)
			return false
		})
	}()
	<-asked
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != os.ErrClosed {
		t.Fatalf("Read: got %v, want os.ErrClosed", err)
	}
	if err := d.Control(func(uintptr) { t.Error("called after Close") }); err != os.ErrClosed {
		t.Fatalf("Control: got %v, want os.ErrClosed", err)
	}
}

// nothing is the reader of a device that never has anything.
func nothing(uintptr) bool { return false }

func standIn(t *testing.T, look time.Duration, gone func() bool) (*Device, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDevice(os.NewFile(uintptr(fds[0]), "device"), look, gone)
	if err != nil {
		t.Fatal(err)
	}
	return d, os.NewFile(uintptr(fds[1]), "driver")
}
