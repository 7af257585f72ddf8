package bmc

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc/record"
	"ipmbd/internal/testmain"
	"ipmbd/ipmi"
)

// open opens the journal of a folder; told has its reports.
func open(t *testing.T, folder string) (j *journal, told []error) {
	t.Helper()
	tell := func(err error) { told = append(told, err) }
	j, err := openJournal(folder, tell, tell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, told
}

// content returns all values of a journal, by name.
func content(j *journal) map[string]string {
	all := make(map[string]string)
	for name, value := range j.values {
		all[name] = string(value)
	}
	return all
}

func closeJournal(t *testing.T, j *journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, j *journal, changes ...change) {
	t.Helper()
	if err := j.write(changes...); err != nil {
		t.Fatal(err)
	}
}

func TestJournalKeepsWhatWasWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "folder")
	j, told := open(t, folder)
	if len(told) != 0 || len(content(j)) != 0 {
		t.Errorf("a new journal: %v, %v", told, content(j))
	}
	mustWrite(t, j, putValue("fru/0", []byte("board")...), putValue("fru/1"))
	mustWrite(t, j, putValue("a", 1), putValue("b", 2))
	mustWrite(t, j, removeValue("a"), putValue("log/1", 1), removeValues("log/"))
	mustWrite(t, j, putValue("log", 3), editValue("log", func(stored []byte) []byte { return append([]byte{7}, stored...) }))
	closeJournal(t, j)
	if err := j.write(putValue("fru/0")); !errors.Is(err, errClosed) {
		t.Errorf("a write after the end: %v", err)
	}
	j, told = open(t, folder)
	want := map[string]string{"fru/0": "board", "fru/1": "", "b": "\x02", "log": "\x07\x03"}
	if diff := cmp.Diff(want, content(j)); diff != "" || len(told) != 0 {
		t.Error(diff, told)
	}
}

func TestJournalOfManyWriters(t *testing.T) {
	folder := t.TempDir()
	j, _ := open(t, folder)
	const writers, each = 8, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if err := j.write(putValue(fmt.Sprintf("%d/%d", w, i), byte(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	closeJournal(t, j)
	if j, _ := open(t, folder); len(content(j)) != writers*each {
		t.Errorf("%d values", len(content(j)))
	}
}

// What is out of date does not let the file grow, and the values stay.
func TestJournalIsCompacted(t *testing.T) {
	folder := t.TempDir()
	j, _ := open(t, folder)
	value := make([]byte, 10_000)
	for i := range byte(200) {
		value[0] = i
		mustWrite(t, j, putValue(fmt.Sprint(i%5), value...))
		if info, err := os.Stat(filepath.Join(folder, journalName)); err != nil || info.Size() > minCompaction+journalGrowth {
			t.Fatal(info.Size(), err)
		}
	}
	want := content(j)
	closeJournal(t, j)
	if j, told := open(t, folder); !cmp.Equal(want, content(j)) || len(told) > 0 {
		t.Errorf("%d values, %v", len(content(j)), told)
	}
}

// sample is the file of a journal, the values that it holds, and those that it ever held.
type sample struct {
	bytes   []byte
	content map[string]string
	ever    map[string][]string
}

const page = 4096

func newSample(t *testing.T) sample {
	t.Helper()
	folder := t.TempDir()
	j, _ := open(t, folder)
	w := sample{ever: make(map[string][]string)}
	for batch := range 6 {
		var changes []change
		for i := range 200 {
			changes = append(changes, putValue(fmt.Sprint("log/", 200*batch+i), bytes.Repeat([]byte{byte(i)}, record.RecordLength)...))
		}
		changes = append(changes, putValue("fru/0", bytes.Repeat([]byte{byte(batch)}, 9000)...),
			putValue("log", byte(batch)), removeValue("log/3"))
		mustWrite(t, j, changes...)
		for _, c := range changes {
			w.ever[c.name] = append(w.ever[c.name], string(c.value))
		}
	}
	// The last commit changes nothing: a damaged one looks like one that was never
	// acknowledged.
	mustWrite(t, j, putValue("fru/0", j.value("fru/0")...))
	w.content = content(j)
	closeJournal(t, j)
	data, err := os.ReadFile(filepath.Join(folder, journalName))
	if err != nil {
		t.Fatal(err)
	}
	w.bytes = data
	return w
}

// survives opens a journal on a damaged file: all values in it were in the sample, and it reports
// if any is missing; the file that has been set aside is as it was, and the journal works.
func (w sample) survives(t *testing.T, damage string, damaged []byte) (left int) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, journalName), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	j, told := open(t, folder)
	got := content(j)
	for name, value := range got {
		if !slices.Contains(w.ever[name], value) {
			t.Errorf("%s: %s has a value that it never had", damage, name)
		}
	}
	if !maps.Equal(got, w.content) && len(told) == 0 {
		t.Errorf("%s: %d of %d values are left, and nobody is told", damage, len(got), len(w.content))
	}
	for _, err := range told {
		if kept, err := os.ReadFile(asideOf(t, err)); err != nil || !bytes.Equal(kept, damaged) {
			t.Errorf("%s: the file that was set aside is not the one that was there: %v", damage, err)
		}
	}
	mustWrite(t, j, putValue("new", 1))
	want := content(j)
	closeJournal(t, j)
	j, told = open(t, folder)
	if !maps.Equal(want, content(j)) || len(told) > 0 {
		t.Errorf("%s: not kept: %v", damage, told)
	}
	closeJournal(t, j)
	return len(got)
}

// asideOf returns the path of the damaged file in a report.
func asideOf(t *testing.T, report error) string {
	t.Helper()
	_, aside, ok := strings.Cut(report.Error(), "the damaged file is now ")
	if !ok {
		t.Fatal(report)
	}
	return aside
}

func TestDamagedJournal(t *testing.T) {
	w := newSample(t)
	pages := len(w.bytes) / page
	step := testmain.Amount(5, 1) // of pages
	random := rand.New(rand.NewPCG(1, 2))
	change := func(from int, with []byte) []byte {
		damaged := bytes.Clone(w.bytes)
		copy(damaged[from:], with)
		return damaged
	}
	t.Run("not at all", func(t *testing.T) { w.survives(t, "whole", w.bytes) })
	t.Run("truncated", func(t *testing.T) {
		for size := random.IntN(step); size < pages; size += step {
			w.survives(t, fmt.Sprint("page ", size), w.bytes[:size*page])
		}
		for range 20 / step {
			size := random.IntN(len(w.bytes))
			w.survives(t, fmt.Sprint("byte ", size), w.bytes[:size])
		}
	})
	t.Run("a page overwritten", func(t *testing.T) {
		noise := make([]byte, page)
		for i := random.IntN(step); i < pages; i += step {
			w.survives(t, fmt.Sprint("zeros in page ", i), change(i*page, make([]byte, page)))
			for at := range noise {
				noise[at] = byte(random.Uint32())
			}
			w.survives(t, fmt.Sprint("noise in page ", i), change(i*page, noise))
			other := random.IntN(pages)
			w.survives(t, fmt.Sprint("page ", other, " in page ", i), change(i*page, w.bytes[other*page:(other+1)*page]))
		}
	})
	t.Run("a byte changed: all other commits are kept", func(t *testing.T) {
		for range 100 / step {
			at := random.IntN(len(w.bytes))
			if left := w.survives(t, fmt.Sprint("byte ", at), change(at, []byte{w.bytes[at] ^ 1<<random.IntN(8)})); left < len(w.content)-200 {
				t.Errorf("byte %d: %d values", at, left)
			}
		}
	})
}

func TestJournalThatIsNoFile(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, journalName, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, told := open(t, folder)
	if len(told) != 1 {
		t.Fatal(told)
	}
	if _, err := os.Stat(filepath.Join(asideOf(t, told[0]), "inside")); err != nil {
		t.Error(err)
	}
}

// Two damaged files within a second have different names.
func TestDamagedJournalsAreKept(t *testing.T) {
	folder := t.TempDir()
	for range 3 {
		if err := os.WriteFile(filepath.Join(folder, journalName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		j, _ := open(t, folder)
		closeJournal(t, j)
	}
	if kept, _ := filepath.Glob(filepath.Join(folder, journalName+".damaged-*")); len(kept) != 3 {
		t.Error(kept)
	}
}

// A folder of nothing else than an unfinished journal is a new one.
func TestUnfinishedJournal(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, journalName+newSuffix), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, told := open(t, folder); len(told) != 0 {
		t.Error(told)
	}
}

// The value of an edit is made of the stored value, not of a write that was refused.
func TestEditsOfARefusedWrite(t *testing.T) {
	j := newJournal(nil)
	refuse := true
	j.store = func(map[string][]byte, []change) error {
		if refuse {
			return ipmi.ErrNoSpace
		}
		return nil
	}
	add := func(letter byte) change {
		return editValue("text", func(stored []byte) []byte { return append(slices.Clone(stored), letter) })
	}
	first, second := j.startWrite(nil, add('a')), j.startWrite(nil, add('b'))
	if err := errors.Join(first.wait(), second.wait()); !errors.Is(err, ipmi.ErrNoSpace) || j.value("text") != nil {
		t.Errorf("%v, %q", err, j.value("text"))
	}
	refuse = false
	first, second = j.startWrite(nil, add('c')), j.startWrite(nil, add('d'))
	if err := errors.Join(second.wait(), first.wait()); err != nil || string(j.value("text")) != "cd" {
		t.Errorf("%v, %q", err, j.value("text"))
	}
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

func TestFullDisk(t *testing.T) {
	folder := mount(t, 0, "size=256k")
	j, told := open(t, folder)
	if len(told) != 0 {
		t.Error(told)
	}
	kept := 0
	for ; kept < 64; kept++ {
		if err := j.write(putValue(fmt.Sprint("fru/", kept), make([]byte, 9000)...)); err != nil {
			if !errors.Is(err, ipmi.ErrNoSpace) {
				t.Error(err)
			}
			break
		}
	}
	if kept < 20 || kept == 64 {
		t.Errorf("%d writes", kept)
	}
	for range 2 {
		closeJournal(t, j)
		j, told = open(t, folder)
		if len(content(j)) != kept || len(told) != 0 {
			t.Errorf("%d of %d values, %v", len(content(j)), kept, told)
		}
		// What takes no room can be stored still.
		mustWrite(t, j, removeValue(fmt.Sprint("fru/", kept-1)))
		kept--
	}
}

// A disk that has no room for two files lets the one grow.
func TestCompactionOnFullDisk(t *testing.T) {
	folder := mount(t, 0, "size=600k")
	j, _ := open(t, folder)
	value := make([]byte, 150_000)
	for i := range 3 {
		mustWrite(t, j, putValue(fmt.Sprint(i), value...))
	}
	mustWrite(t, j, putValue("0", 1), putValue("1", 1))
	for range 10 {
		mustWrite(t, j, putValue("2", value...))
	}
	closeJournal(t, j)
	if j, told := open(t, folder); len(content(j)) != 3 || len(j.value("2")) != len(value) || len(told) > 0 {
		t.Error(len(content(j)), told)
	}
}

// A journal opens with any content of its file, and keeps the values that it has read.
func FuzzJournal(f *testing.F) {
	whole := encodeJournal(map[string][]byte{"a": {1}, "b": make([]byte, 300), "c": nil})
	whole = append(whole, make([]byte, roundUp(len(whole))-len(whole))...)
	f.Add(0, []byte{0})
	f.Add(8, []byte{0xFF, 0xFF})
	f.Add(60, []byte{0})
	f.Add(400, whole[8:40])
	f.Fuzz(func(t *testing.T, at int, with []byte) {
		if at < 0 || at > len(whole) {
			return
		}
		damaged := bytes.Clone(whole)
		copy(damaged[at:], with)
		values, end, _ := parseJournal(damaged)
		if end > len(damaged) {
			t.Errorf("the end is %d of %d", end, len(damaged))
		}
		again, _, damage := parseJournal(append(encodeJournal(values), make([]byte, roundUp(len(encodeJournal(values)))-len(encodeJournal(values)))...))
		if damage != nil || !cmp.Equal(values, again) {
			t.Errorf("%v, %v, %v", values, again, damage)
		}
	})
}
