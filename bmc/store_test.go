package bmc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// open opens a store; told is what it reported.
func open(t *testing.T, folder string) (s *Store, told []error) {
	t.Helper()
	s, err := OpenStore(folder, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, told
}

// content is all that a store held when it was opened, by bucket and key.
func content(s *Store) map[string]string {
	all := make(map[string]string)
	for _, bucket := range buckets {
		for _, v := range s.values(bucket) {
			all[fmt.Sprintf("%s %x", bucket, v.key)] = string(v.data)
		}
	}
	return all
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStoreKeepsWhatWasWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "folder")
	s, told := open(t, folder)
	if len(told) != 0 || len(content(s)) != 0 {
		t.Errorf("a new store: %v, %v", told, content(s))
	}
	if err := s.write(put(fruBucket, []byte{0}, []byte("board")), put(fruBucket, []byte{1}, nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.write(put(settingsBucket, []byte("a"), []byte{1}), put(settingsBucket, []byte("b"), []byte{2})); err != nil {
		t.Fatal(err)
	}
	if err := s.write(remove(settingsBucket, []byte("a")), put(logBucket, []byte{1}, []byte{1}), empty(logBucket)); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if err := s.write(put(fruBucket, []byte{0}, nil)); !errors.Is(err, errClosed) {
		t.Errorf("a write after the end: %v", err)
	}
	s, told = open(t, folder)
	want := map[string]string{"fru 00": "board", "fru 01": "", "settings 62": "\x02"}
	if diff := cmp.Diff(want, content(s)); diff != "" || len(told) != 0 {
		t.Error(diff, told)
	}
}

func TestStoreOfManyWriters(t *testing.T) {
	folder := t.TempDir()
	s, _ := open(t, folder)
	const writers, each = 8, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if err := s.write(put(logBucket, []byte{byte(w), byte(i)}, []byte{byte(i)})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	closeStore(t, s)
	if s, _ := open(t, folder); len(s.values(logBucket)) != writers*each {
		t.Errorf("%d values", len(s.values(logBucket)))
	}
}

func TestStoreInUse(t *testing.T) {
	folder := t.TempDir()
	s, _ := open(t, folder)
	if _, err := OpenStore(folder, nil); !errors.Is(err, ErrStoreInUse) {
		t.Errorf("the folder of another: %v", err)
	}
	closeStore(t, s)
	file, err := os.Open(filepath.Join(folder, storeName))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := lock(file); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(folder, nil); !errors.Is(err, ErrStoreInUse) {
		t.Errorf("the file of another: %v", err)
	}
}

// sample is a file with all that a store's file can have: a tree of branches and
// leaves, a value over several pages, a bucket within its parent's page, free
// pages.
type sample struct {
	bytes    []byte
	content  map[string]string
	pageSize int
}

func newSample(t *testing.T) sample {
	t.Helper()
	folder := t.TempDir()
	s, _ := open(t, folder)
	for batch := range 6 {
		var changes []change
		for i := range 200 {
			number := binary.BigEndian.AppendUint64(nil, uint64(200*batch+i))
			changes = append(changes, put(logBucket, number, bytes.Repeat([]byte{byte(i)}, record.RecordLength)))
		}
		changes = append(changes, put(fruBucket, []byte{0}, bytes.Repeat([]byte{byte(batch)}, 9000)),
			put(settingsBucket, []byte("log"), []byte{byte(batch)}), remove(logBucket, []byte{7: 3}))
		if err := s.write(changes...); err != nil {
			t.Fatal(err)
		}
	}
	// The last transaction changes nothing: a damaged meta page brings back the one
	// before it.
	if err := s.write(put(settingsBucket, []byte("log"), []byte{5})); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s, _ = open(t, folder)
	closeStore(t, s)
	data, err := os.ReadFile(filepath.Join(folder, storeName))
	if err != nil {
		t.Fatal(err)
	}
	return sample{data, content(s), os.Getpagesize()}
}

// survives opens a store on a damaged file: all that is in it was in the sample,
// and what is not there has been told of; the file that has been moved is as it
// was, and the store works.
func (w sample) survives(t *testing.T, damage string, damaged []byte) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, storeName), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	s, told := open(t, folder)
	got := content(s)
	for key, value := range got {
		if w.content[key] != value {
			t.Errorf("%s: %s has changed", damage, key)
		}
	}
	if len(got) < len(w.content) && len(told) == 0 {
		t.Errorf("%s: %d of %d values are left, and nobody is told", damage, len(got), len(w.content))
	}
	for _, err := range told {
		var e *DamageError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", damage, err)
		} else if e.Aside != "" {
			if kept, err := os.ReadFile(e.Aside); err != nil || !bytes.Equal(kept, damaged) {
				t.Errorf("%s: what was moved is not what was there: %v", damage, err)
			}
		} else if len(got) == 0 {
			t.Errorf("%s: emptied: %v", damage, err)
		}
	}
	if err := s.write(put(settingsBucket, []byte("new"), []byte{1})); err != nil {
		t.Errorf("%s: %v", damage, err)
	}
	closeStore(t, s)
	if s, told := open(t, folder); string(s.setting("new")) != "\x01" {
		t.Errorf("%s: not kept: %v", damage, told)
	} else {
		closeStore(t, s)
	}
}

func TestDamagedStore(t *testing.T) {
	w := newSample(t)
	pages := len(w.bytes) / w.pageSize
	random := rand.New(rand.NewPCG(1, 2))
	change := func(from int, with []byte) []byte {
		damaged := bytes.Clone(w.bytes)
		copy(damaged[from:], with)
		return damaged
	}
	t.Run("not at all", func(t *testing.T) { w.survives(t, "whole", w.bytes) })
	t.Run("truncated", func(t *testing.T) {
		for size := range pages {
			w.survives(t, fmt.Sprint("page ", size), w.bytes[:size*w.pageSize])
		}
		for range 20 {
			size := random.IntN(len(w.bytes))
			w.survives(t, fmt.Sprint("byte ", size), w.bytes[:size])
		}
	})
	t.Run("a page overwritten", func(t *testing.T) {
		noise := make([]byte, w.pageSize)
		for i := range pages {
			w.survives(t, fmt.Sprint("zeros in page ", i), change(i*w.pageSize, make([]byte, w.pageSize)))
			for at := range noise {
				noise[at] = byte(random.Uint32())
			}
			w.survives(t, fmt.Sprint("noise in page ", i), change(i*w.pageSize, noise))
			other := random.IntN(pages)
			w.survives(t, fmt.Sprint("page ", other, " in page ", i), change(i*w.pageSize, w.bytes[other*w.pageSize:(other+1)*w.pageSize]))
		}
	})
	t.Run("a byte changed", func(t *testing.T) {
		for i := range pages {
			for _, at := range []int{random.IntN(16), 16 + random.IntN(64), random.IntN(w.pageSize)} {
				at += i * w.pageSize
				w.survives(t, fmt.Sprint("byte ", at), change(at, []byte{w.bytes[at] ^ 1<<random.IntN(8)}))
			}
		}
	})
}

func TestStoreThatIsNoFile(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, storeName, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, told := open(t, folder)
	var e *DamageError
	if len(told) != 1 || !errors.As(told[0], &e) {
		t.Fatal(told)
	}
	if _, err := os.Stat(filepath.Join(e.Aside, "inside")); err != nil {
		t.Error(err)
	}
}

// Two damaged files within a second have different names.
func TestDamagedStoresAreKept(t *testing.T) {
	folder := t.TempDir()
	for range 3 {
		if err := os.WriteFile(filepath.Join(folder, storeName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t, folder)
		closeStore(t, s)
	}
	if kept, _ := filepath.Glob(filepath.Join(folder, storeName+".damaged-*")); len(kept) != 3 {
		t.Error(kept)
	}
}

// A folder of nothing else than an unfinished store is a new one.
func TestUnfinishedStore(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, storeName+".new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, told := open(t, folder); len(told) != 0 {
		t.Error(told)
	}
}

// A page that the disk does not give is a fault in the mapped file.
func TestFaultInMappedFile(t *testing.T) {
	w := newSample(t)
	torn := func(t *testing.T) *Store {
		folder := t.TempDir()
		path := filepath.Join(folder, storeName)
		if err := os.WriteFile(path, w.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t, folder)
		if err := os.Truncate(path, int64(w.pageSize)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("read", func(t *testing.T) {
		s := torn(t)
		if _, _, s.broken = load(s.db); !errors.Is(s.broken, errFault) {
			t.Error(s.broken)
		}
	})
	t.Run("written", func(t *testing.T) {
		s := torn(t)
		for range 2 {
			if err := s.write(put(logBucket, []byte{1}, nil)); !errors.Is(err, errFault) {
				t.Error(err)
			}
		}
		if err := s.Close(); !errors.Is(err, errFault) {
			t.Errorf("close: %v", err)
		}
	})
}

// mount mounts a file system on a folder, where that is allowed.
func mount(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", flags, options); err != nil {
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(folder, syscall.MNT_DETACH) })
	return folder
}

func TestReadOnlyFolder(t *testing.T) {
	folder := mount(t, syscall.MS_RDONLY, "")
	if _, err := OpenStore(folder, nil); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), folder) {
		t.Error(err)
	}
}

func TestFullDisk(t *testing.T) {
	folder := mount(t, 0, "size=256k")
	s, told := open(t, folder)
	if len(told) != 0 {
		t.Error(told)
	}
	key := func(i int) []byte { return []byte{byte(i)} }
	kept := 0
	for ; kept < 64; kept++ {
		if err := s.write(put(fruBucket, key(kept), make([]byte, 9000))); err != nil {
			if !errors.Is(err, ipmi.ErrNoSpace) {
				t.Error(err)
			}
			break
		}
	}
	if kept == 0 || kept == 64 {
		t.Errorf("%d writes", kept)
	}
	if err := s.write(put(fruBucket, key(0), nil)); err != nil && !errors.Is(err, ipmi.ErrNoSpace) {
		t.Errorf("after it was full: %v", err)
	}
	closeStore(t, s)
	s, told = open(t, folder)
	if len(s.values(fruBucket)) != kept || len(told) != 0 {
		t.Errorf("%d of %d values, %v", len(s.values(fruBucket)), kept, told)
	}
}

func TestWhatIsAFullDisk(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, fmt.Errorf("file resize error: %s", syscall.ENOSPC), &os.PathError{Err: syscall.EDQUOT}} {
		if !isFull(full) {
			t.Error(full)
		}
	}
	for _, other := range []error{nil, syscall.EIO, errFault} {
		if isFull(other) {
			t.Error(other)
		}
	}
}

// Whatever a file holds, a check of it ends and a store opens.
func FuzzCheckPages(f *testing.F) {
	f.Add(0, []byte{0})
	f.Add(4096+8, []byte{4})
	f.Add(3*4096+10, []byte{0xFF, 0xFF})
	f.Add(2*4096+12, []byte{0xFF, 0xFF, 0xFF, 0xFF})
	folder := f.TempDir()
	s, err := OpenStore(folder, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 300 {
		s.begin(put(logBucket, binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, record.RecordLength)))
	}
	if err := errors.Join(s.write(), s.Close()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(folder, storeName))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, at int, with []byte) {
		if at < 0 || at > len(whole) {
			return
		}
		damaged := bytes.Clone(whole)
		copy(damaged[at:], with)
		if _, err := checkPages(bytes.NewReader(damaged), int64(len(damaged)), buckets); err != nil {
			return
		}
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, storeName), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, told := open(t, folder)
		for _, err := range told {
			if e := new(DamageError); errors.As(err, &e) && e.Aside != "" {
				t.Error("bbolt refused what the check found right: ", err)
			}
		}
	})
}
