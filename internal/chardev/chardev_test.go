package chardev

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }

const never = time.Hour

func TestOpenRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		name string
		open func(string) (*Device, error)
		path string
		want error
	}{
		{"no node", Open, absent, os.ErrNotExist},
		{"regular file as a device", Open, plain, ErrNotDevice},
		{"device without poll", Open, os.DevNull, os.ErrNoDeadline},
		{"no attribute", OpenAttribute, absent, os.ErrNotExist},
		{"device as an attribute", OpenAttribute, os.DevNull, ErrNotAttribute},
		{"folder as an attribute", OpenAttribute, t.TempDir(), ErrNotAttribute},
		{"attribute without poll", OpenAttribute, plain, os.ErrNoDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d, err := c.open(c.path); d != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, %v, want %v", d, err, c.want)
			}
		})
	}
}

func TestOpenDevice(t *testing.T) {
	d, err := Open("/dev/ptmx")
	if err != nil {
		t.Fatal(err)
	}
	if d.watch == unwatched {
		t.Error("the node is not watched")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A FIFO is a file with poll that comes and goes as the node of a device does.
func TestReadEndsWhenTheNodeGoes(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, node string)
	}{
		{"node removed", remove},
		{"another node in its place", func(t *testing.T, node string) {
			if err := os.Rename(fifo(t), node); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, how := range []struct {
			name    string
			watched bool
			look    time.Duration
		}{
			{"told", true, never},
			{"found by a look", false, time.Millisecond},
		} {
			t.Run(c.name+", "+how.name, func(t *testing.T) {
				node := fifo(t)
				d := openFIFO(t, node, how.watched)
				shorten(t, d, how.look)
				waits := make(chan struct{}, 1000)
				ended := make(chan error)
				go func() {
					ended <- d.Read(func(uintptr) bool {
						waits <- struct{}{}
						return false
					})
				}()
				<-waits
				c.end(t, node)
				if err := <-ended; err != io.EOF {
					t.Fatalf("got %v, want io.EOF", err)
				}
				if err := d.Read(nothing); err != io.EOF {
					t.Fatalf("again: got %v, want io.EOF", err)
				}
			})
		}
	}
}

func TestReadEndsWhenTheNodeBehindALinkGoes(t *testing.T) {
	node := fifo(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(node, link); err != nil {
		t.Fatal(err)
	}
	d := openFIFO(t, link, true)
	shorten(t, d, never)
	remove(t, node)
	if err := d.Read(nothing); err != io.EOF {
		t.Fatalf("got %v, want io.EOF", err)
	}
}

func TestReadGoesOnWhileTheNodeIsThere(t *testing.T) {
	node := fifo(t)
	d := openFIFO(t, node, true)
	shorten(t, d, time.Millisecond)
	calls := 0
	err := d.Read(func(uintptr) bool {
		calls++
		if err := os.Chmod(node, 0o640); err != nil {
			t.Error(err)
		}
		return calls == 3
	})
	if err != nil || calls != 3 {
		t.Fatalf("got %v after %d calls, want 3", err, calls)
	}
}

func TestNothingIsCalledWhenTheNodeHasGone(t *testing.T) {
	node := fifo(t)
	d := openFIFO(t, node, true)
	remove(t, node)
	called := func(uintptr) bool {
		t.Error("called")
		return true
	}
	if err := d.Control(func(fd int) error { called(uintptr(fd)); return nil }); err != io.EOF {
		t.Errorf("Control: got %v, want io.EOF", err)
	}
	if err := d.Read(called); err != io.EOF {
		t.Errorf("Read: got %v, want io.EOF", err)
	}
}

func TestReadTakesWhatComes(t *testing.T) {
	d, far := standIn(t)
	read := make(chan string)
	waits := make(chan struct{}, 1)
	go func() {
		for range 3 {
			read <- readOne(t, d, func() { waits <- struct{}{} })
		}
	}()
	for _, want := range []string{"one", "two", "three"} {
		<-waits
		if _, err := far.WriteString(want); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestReadForgetsNothing(t *testing.T) {
	d, far := standIn(t)
	want := []string{"one", "two"}
	for _, s := range want {
		if _, err := far.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range want {
		if got := readOne(t, d, func() { t.Error("waits") }); got != s {
			t.Fatalf("got %q, want %q", got, s)
		}
	}
}

func TestControlCallsOnce(t *testing.T) {
	d, far := standIn(t)
	calls := 0
	err := d.Control(func(fd int) error {
		calls++
		return WriteMessage(unix.Write, fd, []byte("frame"))
	})
	b := make([]byte, 64)
	n, _ := far.Read(b)
	if err != nil || calls != 1 || string(b[:n]) != "frame" {
		t.Fatalf("got %v, %d calls, %q", err, calls, b[:n])
	}
}

func TestCloseEndsABlockedRead(t *testing.T) {
	d, _ := standIn(t)
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
	if err := d.Control(func(int) error { t.Error("called after Close"); return nil }); err != os.ErrClosed {
		t.Fatalf("Control: got %v, want os.ErrClosed", err)
	}
	if err := d.Read(nothing); err != os.ErrClosed {
		t.Fatalf("Read again: got %v, want os.ErrClosed", err)
	}
}

func TestCloseWaitsForControl(t *testing.T) {
	d, far := standIn(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	go d.Control(func(fd int) error {
		close(entered)
		<-leave
		return WriteMessage(unix.Write, fd, []byte("frame"))
	})
	<-entered
	closed := make(chan struct{})
	go func() {
		d.Close()
		close(closed)
	}()
	if err := d.Read(nothing); err != os.ErrClosed {
		t.Fatalf("Read: got %v, want os.ErrClosed", err)
	}
	select {
	case <-closed:
		t.Fatal("Close returned during Control")
	default:
	}
	close(leave)
	<-closed
	b := make([]byte, 64)
	if n, _ := far.Read(b); string(b[:n]) != "frame" {
		t.Fatalf("got %q", b[:n])
	}
}

// Out-of-band data makes a socket urgent, as an attribute is that was notified.
func TestAttributeIsReadWhenNotified(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	d, err := NewAttribute(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 3 {
		waits := make(chan struct{}, 100)
		ended := make(chan error)
		go func() {
			ended <- d.Read(func(fd uintptr) bool {
				n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_OOB)
				if err != nil {
					waits <- struct{}{}
				}
				return err == nil && n == 1
			})
		}()
		<-waits
		if err := unix.Sendto(fds[1], []byte("!"), unix.MSG_OOB, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// nothing is the reader of a device that never has anything.
func nothing(uintptr) bool { return false }

// readOne is the next packet; wait is called when there is none yet.
func readOne(t *testing.T, d *Device, wait func()) (got string) {
	err := d.Read(func(fd uintptr) bool {
		b := make([]byte, 64)
		n, err := unix.Read(int(fd), b)
		if err == unix.EAGAIN {
			wait()
			return false
		}
		got = string(b[:n])
		return true
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// shorten makes a device look at its node that often.
func shorten(t *testing.T, d *Device, look time.Duration) {
	t.Helper()
	d.look = look
	if err := d.lookLater(); err != nil {
		t.Fatal(err)
	}
}

func fifo(t *testing.T) (node string) {
	t.Helper()
	node = filepath.Join(t.TempDir(), "node")
	if err := unix.Mkfifo(node, 0o600); err != nil {
		t.Fatal(err)
	}
	return node
}

func openFIFO(t *testing.T, node string, watched bool) *Device {
	t.Helper()
	fd, err := openFile(node, unix.O_RDWR, unix.S_IFIFO, ErrNotDevice)
	if err != nil {
		t.Fatal(err)
	}
	watch := unwatched
	if watched {
		if watch = watchNode(node); watch == unwatched {
			t.Fatal("no watch")
		}
	}
	d, err := newDevice(fd, watch, unix.EPOLLIN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func standIn(t *testing.T) (*Device, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	far := os.NewFile(uintptr(fds[1]), "driver")
	t.Cleanup(func() { far.Close() })
	return d, far
}
