package service

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// faults are the parts of the service that cannot be used now, beside buses and host interfaces.
type faults struct {
	mu    sync.Mutex
	texts map[string]string // by the key of the configuration
}

// set sets the text of a fault; an empty one ends it.
func (f *faults) set(key, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.texts == nil {
		f.texts = make(map[string]string)
	}
	f.texts[key] = key + ": " + text
	if text == "" {
		delete(f.texts, key)
	}
}

func (f *faults) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Values(f.texts))
}

// setFault sets or ends a fault, and shows that on D-Bus and in systemd's status line.
func (s *service) setFault(key, text string) {
	s.faults.set(key, text)
	s.server.FaultsChanged()
	s.statusChanged()
}

// Faults implements dbusapi.Manager.
func (s *service) Faults() []string { return s.faults.list() }

// isOutsideSandbox reports whether a path cannot be written, with this error, because systemd's
// sandbox does not allow it. In the sandbox a mount is read-only although its file system is not,
// or a folder cannot be entered. A disk that has been made read-only for its faults is no sandbox.
func isOutsideSandbox(path string, err error) bool {
	allowed := os.Getenv("STATE_DIRECTORY") // of our unit
	if allowed == "" || path == allowed || strings.HasPrefix(path, allowed+"/") {
		return false
	}
	if errors.Is(err, unix.EROFS) {
		text, failed := os.ReadFile("/proc/self/mountinfo")
		return failed == nil && isReadOnlyMount(string(text), path)
	}
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}

// isReadOnlyMount reports whether the mount of a path is read-only although its file system can be
// written. mountinfo is that of proc_pid_mountinfo(5): the fifth field is the place of a mount, the
// sixth one its options, and the last one those of its file system.
func isReadOnlyMount(mountinfo, path string) bool {
	readOnly, longest := false, -1
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		place := fields[4]
		if rel, err := filepath.Rel(place, path); err != nil || rel == ".." || strings.HasPrefix(rel, "../") || len(place) < longest {
			continue
		}
		has := func(options, option string) bool { return slices.Contains(strings.Split(options, ","), option) }
		longest = len(place)
		readOnly = has(fields[5], "ro") && !has(fields[len(fields)-1], "ro")
	}
	return readOnly
}
