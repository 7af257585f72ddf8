package chardev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWaitSeesWhatHappensAtThePath(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, event func(t *testing.T, path string)
	}{
		{"a node comes", absent, create},
		{"a node goes", create, remove},
		{"a node is replaced", create, replace},
		{"a node is moved there", absent, replace},
		{"a node is moved away", create, func(t *testing.T, path string) { rename(t, path, path+"-old") }},
		{"a link comes", absent, func(t *testing.T, path string) {
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "node")
			c.before(t, path)
			w := openWatch(t, path, never)
			ended := make(chan error)
			go func() { ended <- w.Wait(t.Context()) }()
			create(t, path+"-other")
			c.event(t, path)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			unchanged(t, w)
		})
	}
}

func TestWaitSeesWhatHappenedBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	w := openWatch(t, path, never)
	create(t, path)
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	unchanged(t, w)
}

func TestWaitLooksWhereTheFolderIsYetToCome(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(folder, "node")
	w := openWatch(t, path, time.Millisecond)
	unchanged(t, w)
	ended := make(chan error)
	go func() { ended <- w.Wait(t.Context()) }()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	create(t, path)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	w.look = never
	go func() { ended <- w.Wait(t.Context()) }()
	remove(t, path)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestWaitLeavesTimeToANodeThatHasCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	w := openWatch(t, path, never)
	w.settle = never
	create(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want context.DeadlineExceeded", err)
	}
	remove(t, path)
	if err := w.Wait(t.Context()); err != nil {
		t.Fatalf("a node that goes: %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	w := openWatch(t, filepath.Join(t.TempDir(), "node"), never)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Wait(ctx) }()
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Fatalf("got %v, want context.Canceled", err)
		}
		if err := w.Wait(ctx); err != context.Canceled {
			t.Fatalf("with a context that has ended: got %v", err)
		}
	}
}

func TestWaitEndsWithClose(t *testing.T) {
	w := openWatch(t, filepath.Join(t.TempDir(), "node"), never)
	ended := make(chan error)
	go func() { ended <- w.Wait(t.Context()) }()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != os.ErrClosed {
		t.Fatalf("got %v, want os.ErrClosed", err)
	}
	if err := w.Wait(t.Context()); err != os.ErrClosed {
		t.Fatalf("again: got %v, want os.ErrClosed", err)
	}
}

// unchanged fails the test if w sees anything happen.
func unchanged(t *testing.T, w *Watch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want context.DeadlineExceeded", err)
	}
}

func openWatch(t *testing.T, path string, look time.Duration) *Watch {
	t.Helper()
	w, err := OpenWatch(path, Look(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	w.look, w.settle = look, time.Millisecond
	return w
}

func absent(*testing.T, string) {}

func create(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path string) {
	t.Helper()
	create(t, path+"-new")
	rename(t, path+"-new", path)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestWatchOfNames(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	create(t, path("node-1"))
	w, err := OpenNamesWatch(path("node-*"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.look, w.settle = never, 0
	for _, event := range []struct {
		name string
		do   func()
	}{
		{"another comes", func() { create(t, path("node-2")) }},
		{"one goes", func() { remove(t, path("node-1")) }},
		{"one is renamed", func() { rename(t, path("node-2"), path("node-3")) }},
		{"the last goes", func() { remove(t, path("node-3")) }},
		{"one comes beside another file", func() { create(t, path("other")); create(t, path("node-4")) }},
	} {
		ended := make(chan error, 1)
		go func() { ended <- w.Wait(t.Context()) }()
		event.do()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", event.name, err)
		}
	}
	create(t, path("one more"))
	unchanged(t, w)
}
