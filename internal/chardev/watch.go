package chardev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how long a node is left alone when it has come. A driver may
// register its node before it is ready to serve it: a write to that of
// ipmb_dev_int.c would follow a nil pointer until its probe has gone on, and
// the node goes again when the rest of the probe fails.
const settleTime = 100 * time.Millisecond

// Watch tells when a path comes to name a file, another file, or none.
type Watch struct {
	path   string
	file   *os.File // inotify on the folder of path
	raw    syscall.RawConn
	look   time.Duration
	settle time.Duration

	seen   os.FileInfo // what path named at the last look, nil for nothing
	onWake func(fd uintptr) (done bool)
	events [4096]byte
}

// OpenWatch begins to watch path. The folder need not exist: then a look every
// 2 s takes the place of inotify. The errors are the system's, for want of an
// inotify instance.
func OpenWatch(path string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &Watch{path: path, look: lookInterval, settle: settleTime}
	w.onWake = w.wake
	w.file = os.NewFile(uintptr(fd), "inotify")
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	w.watchFolder()
	w.changed()
	return w, nil
}

// inFolder is what may happen to a node in its folder.
const inFolder = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

// watchFolder watches the folder of the path, again and again, as it may have
// come only now, or come back as another.
func (w *Watch) watchFolder() {
	w.raw.Control(func(fd uintptr) {
		unix.InotifyAddWatch(int(fd), filepath.Dir(w.path), inFolder|unix.IN_ONLYDIR)
	})
}

// Wait returns nil when the path names another file, or none, than when Wait
// last returned or the watch was opened. A file that has come is given 100 ms,
// in which its driver gets ready. The other errors are ctx's and, after Close,
// os.ErrClosed. Wait is called from one goroutine.
func (w *Watch) Wait(ctx context.Context) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.file.SetReadDeadline(time.Unix(0, 1))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
	}()
	for {
		w.watchFolder()
		if w.changed() {
			break
		}
		if err := w.file.SetReadDeadline(time.Now().Add(w.look)); err != nil {
			return os.ErrClosed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := w.raw.Read(w.onWake)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrClosed
		}
	}
	if w.seen == nil {
		return nil
	}
	return pause(ctx, w.settle)
}

// Close closes the watch and ends Wait.
func (w *Watch) Close() error { return w.file.Close() }

// wake is done as soon as anything has happened in the folder. Everything that
// happens there is worth one look, which makes the events' text unimportant.
func (w *Watch) wake(fd uintptr) (done bool) { return drain(int(fd), w.events[:]) }

// changed looks at the path.
func (w *Watch) changed() bool {
	before := w.seen
	w.seen, _ = os.Stat(w.path)
	if before == nil || w.seen == nil {
		return before != w.seen
	}
	return !os.SameFile(before, w.seen)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// watchNode is an inotify descriptor that tells when the file that path names
// loses a name, or unwatched.
func watchNode(path string) int {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return unwatched
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB); err != nil {
		unix.Close(fd)
		return unwatched
	}
	return fd
}

// drain reads all events of an inotify descriptor and reports whether there
// were any.
func drain(fd int, b []byte) (any bool) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return any
		default:
			any = true
		}
	}
}
