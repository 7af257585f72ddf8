package chardev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/fdtrace"
)

// settleTime is how long a new node is left alone. A driver may register its node before it can
// serve it: a write to the node of ipmb_dev_int.c follows a nil pointer until the driver's probe
// has gone on, and the node goes again if the rest of the probe fails.
const settleTime = 100 * time.Millisecond

// Watch reports when a path begins to name a file, another file, or no file.
type Watch struct {
	path   string
	file   *os.File // inotify on the folder of path
	raw    syscall.RawConn
	see    func(path string) Sight
	look   time.Duration
	settle time.Duration

	seen   Sight      // at the last look
	events [4096]byte // whose text does not matter: each is worth one look
}

// Sight is the file that a path named when Look looked at it. The zero value stands for no file.
type Sight struct {
	file  os.FileInfo
	names []string // of a watch of OpenNamesWatch, instead of the file
}

// Look looks at a path, for OpenWatch.
func Look(path string) Sight {
	file, _ := os.Stat(path)
	return Sight{file: file}
}

// lookNames looks at the names that match a pattern.
func lookNames(pattern string) Sight {
	names, _ := filepath.Glob(pattern) // The only error is a bad pattern.
	return Sight{names: names}
}

// is reports whether two sights are the same.
func (s Sight) is(other Sight) bool {
	if s.file == nil || other.file == nil {
		return s.file == other.file && slices.Equal(s.names, other.names)
	}
	return os.SameFile(s.file, other.file)
}

// isEmpty reports whether nothing was there.
func (s Sight) isEmpty() bool { return s.file == nil && len(s.names) == 0 }

// OpenWatch begins to watch path. The first Wait compares it with seen: a program that has looked
// before it opened a device misses nothing that happens to the path from then on. The folder need
// not exist: then a look every 2 s takes the place of inotify. The errors are the system's, if it
// has no inotify instance left.
func OpenWatch(path string, seen Sight) (*Watch, error) { return beginWatch(path, Look, seen) }

// OpenNamesWatch begins to watch the names that match a pattern of [filepath.Match], whose last
// part alone has wildcards: "/dev/ipmb-*". Wait returns when one has come or gone.
func OpenNamesWatch(pattern string) (*Watch, error) {
	return beginWatch(pattern, lookNames, lookNames(pattern))
}

func beginWatch(path string, look func(string) Sight, seen Sight) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	fdtrace.Opened(fd)
	w := &Watch{path: path, see: look, look: lookInterval, settle: settleTime, seen: seen}
	w.file = os.NewFile(uintptr(fd), "inotify")
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	w.watchFolder()
	return w, nil
}

// inFolder are the events of a node in its folder.
const inFolder = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

// watchFolder watches the folder of the path. It is called before each wait, since the folder
// may have come, or another one may have taken its place.
func (w *Watch) watchFolder() {
	w.raw.Control(func(fd uintptr) {
		unix.InotifyAddWatch(int(fd), filepath.Dir(w.path), inFolder|unix.IN_ONLYDIR)
	})
}

// Wait returns nil when the path names another file, or no file, compared with the time when Wait
// last returned, or at first with the sight of OpenWatch. If a file has appeared, Wait returns 100
// ms later, so that its driver can get ready. It returns the error of ctx and, after Close,
// os.ErrClosed. Wait is called from one goroutine.
func (w *Watch) Wait(ctx context.Context) error {
	// A function that runs late wakes a later Wait, which looks once more.
	stop := context.AfterFunc(ctx, func() { w.file.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
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
		_, err := w.file.Read(w.events[:])
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrClosed
		}
	}
	if w.seen.isEmpty() {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.settle):
		return nil
	}
}

// Close closes the watch and ends Wait.
func (w *Watch) Close() error { return w.file.Close() }

// changed looks at the path.
func (w *Watch) changed() bool {
	before := w.seen
	w.seen = w.see(w.path)
	return !w.seen.is(before)
}

// watchNode returns an inotify descriptor that reports when the file at path loses a name, or
// unwatched.
func watchNode(path string) int {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return unwatched
	}
	fdtrace.Opened(fd)
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB); err != nil {
		unix.Close(fd)
		return unwatched
	}
	return fd
}

// drain reads all events of an inotify descriptor and reports whether there were any.
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
