package bmc

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	// tracedVariable is where a writer that is traced writes, from the environment.
	tracedVariable = "IPMBD_TRACED"
	tracedWrites   = 30
	// sector is the unit that a disk writes as a whole, or not at all.
	sector = 512
	// losses is how many ways a power cut at one moment goes.
	losses = 4
)

// tracedWrite is the nth write of the traced writer.
func tracedWrite(n int) []change {
	number := byte(n)
	changes := []change{putValue(fmt.Sprint("log/", n), bytes.Repeat([]byte{number}, 16)...), putValue("n", number)}
	switch n % 8 {
	case 2:
		changes = append(changes, putValue("fru/0", bytes.Repeat([]byte{number}, 30_000)...))
	case 4:
		changes = append(changes, removeValue(fmt.Sprint("log/", n-1)))
	case 7:
		changes = append([]change{removeValues("log/")}, changes...)
	}
	return changes
}

// compacts says which writes make a new file.
func compacts(n int) bool { return n%7 == 6 }

// afterWrites returns the content of a journal after this many writes.
func afterWrites(count int) map[string]string {
	j := newJournal(nil)
	for n := range count {
		apply(j.values, tracedWrite(n))
	}
	return content(j)
}

// TestPowerLoss writes under a tracer, and then cuts the power at each moment: of the data written
// and not synchronized since, any sectors are on the disk, and of the names changed and not
// synchronized, some have changed. Everything that was acknowledged by then must be there, and the
// write in progress as a whole or not at all.
func TestPowerLoss(t *testing.T) {
	if folder := os.Getenv(tracedVariable); folder != "" {
		f := &journalFile{path: filepath.Join(folder, journalName), unlock: func() error { return nil }, sync: syncData}
		values, _, err := f.open()
		if err != nil {
			t.Fatal(err)
		}
		j := newJournal(values)
		j.store = f.store
		defer f.close()
		for n := range tracedWrites {
			if compacts(n) {
				f.compactAt = 0
			}
			mustWrite(t, j, tracedWrite(n)...)
			fmt.Println("acknowledged")
		}
		return
	}
	folder := t.TempDir()
	d := &disk{folder: folder, open: make(map[int]*image), names: []map[string]*image{{}}}
	for _, call := range traced(t, folder) {
		d.take(t, call)
		for range losses {
			d.lose(t)
		}
		if t.Failed() {
			return
		}
	}
	if d.acknowledged != tracedWrites || d.renamed < 4 {
		t.Errorf("%d writes are acknowledged, %d files renamed", d.acknowledged, d.renamed)
	}
	now, err := os.ReadFile(filepath.Join(folder, journalName))
	if file := d.names[0][journalName]; err != nil || len(d.names) != 1 || !bytes.Equal(now, file.data(func() bool { return true })) {
		t.Errorf("the file is not what the trace has made: %v", err)
	}
}

// traced are the system calls of the writer that matter.
func traced(t *testing.T, folder string) []string {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	writer := exec.Command("strace", "-f", "-qq", "-xx", "-s", strconv.Itoa(maxJournalSize), "-o", trace,
		"-e", `trace=/^(openat|close|pwrite64|write|ftruncate(64)?|fdatasync|fsync|renameat2?|unlinkat)$`,
		os.Args[0], "-test.run=^TestPowerLoss$")
	writer.Env = append(os.Environ(), tracedVariable+"="+folder)
	out, err := writer.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || bytes.Contains(out, []byte("ptrace(")) {
		t.Skipf("cannot trace: %v, %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	text, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	var calls []string
	begun := make(map[string]string) // by thread; the runtime's threads call, too
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxJournalSize)
	for lines.Scan() {
		thread, call, _ := strings.Cut(lines.Text(), " ")
		if before, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			begun[thread] = before
			continue
		}
		if _, after, ok := strings.Cut(call, " resumed>"); ok {
			call = begun[thread] + after
		}
		calls = append(calls, strings.TrimLeft(call, " "))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// The calls as the tracer prints them: texts are all in hexadecimal.
var (
	openCall     = regexp.MustCompile(`^openat\(AT_FDCWD, "([^"]*)", \S*?(?:, \d+)?\) += (\d+)$`)
	closeCall    = regexp.MustCompile(`^close\((\d+)\) += 0$`)
	writeCall    = regexp.MustCompile(`^(?:pwrite64|write)\((\d+), "([^"]*)", \d+(?:, (\d+))?\) += \d+$`)
	truncateCall = regexp.MustCompile(`^ftruncate(?:64)?\((\d+), (\d+)\) += 0$`)
	syncCall     = regexp.MustCompile(`^(?:fdatasync|fsync)\((\d+)\) += 0$`)
	renameCall   = regexp.MustCompile(`^renameat2?\(AT_FDCWD, "([^"]*)", AT_FDCWD, "([^"]*)"(?:, \d+)?\) += 0$`)
	unlinkCall   = regexp.MustCompile(`^unlinkat\(AT_FDCWD, "([^"]*)", \d+\) += 0$`)
	saidCall     = regexp.MustCompile(`^write\(1, "` + regexp.QuoteMeta(inHex("acknowledged\n")) + `"`)
)

func inHex(text string) (escaped string) {
	for _, c := range []byte(text) {
		escaped += fmt.Sprintf(`\x%02x`, c)
	}
	return escaped
}

func fromHex(t *testing.T, escaped string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(escaped, `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// disk is one with the folder of a journal on it.
type disk struct {
	folder string
	open   map[int]*image      // by descriptor; the folder's is folderImage
	names  []map[string]*image // those that a power cut may leave, the newest last
	// What has been seen.
	acknowledged, renamed int
}

// image is a file.
type image struct {
	safe    []byte
	pending []written // and not synchronized
	at      int       // of the next write
}

var folderImage = new(image)

// written is data or, without any, a size.
type written struct {
	offset int
	data   []byte
}

// take repeats the effect of a call.
func (d *disk) take(t *testing.T, call string) {
	t.Helper()
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	inFolder := func(escaped string) (name string, ok bool) {
		return strings.CutPrefix(string(fromHex(t, escaped)), d.folder+"/")
	}
	now := maps.Clone(d.names[len(d.names)-1])
	if m := openCall.FindStringSubmatch(call); m != nil {
		name, ok := inFolder(m[1])
		switch {
		case string(fromHex(t, m[1])) == d.folder:
			d.open[number(m[2])] = folderImage
		case ok:
			if now[name] == nil {
				now[name] = new(image)
				d.names = append(d.names, now)
			}
			d.open[number(m[2])] = now[name]
		}
	}
	if m := closeCall.FindStringSubmatch(call); m != nil {
		delete(d.open, number(m[1]))
	}
	if m := writeCall.FindStringSubmatch(call); m != nil && d.open[number(m[1])] != nil {
		file, data := d.open[number(m[1])], fromHex(t, m[2])
		if m[3] == "" {
			file.pending = append(file.pending, written{file.at, data})
			file.at += len(data)
		} else {
			file.pending = append(file.pending, written{number(m[3]), data})
		}
	}
	if m := truncateCall.FindStringSubmatch(call); m != nil {
		file := d.open[number(m[1])]
		file.pending = append(file.pending, written{number(m[2]), nil})
	}
	if m := syncCall.FindStringSubmatch(call); m != nil {
		if file := d.open[number(m[1])]; file == folderImage {
			d.names = d.names[len(d.names)-1:]
		} else {
			file.safe, file.pending = file.data(func() bool { return true }), nil
		}
	}
	if m := renameCall.FindStringSubmatch(call); m != nil {
		from, _ := inFolder(m[1])
		to, _ := inFolder(m[2])
		now[to] = now[from]
		delete(now, from)
		d.names = append(d.names, now)
		d.renamed++
	}
	if m := unlinkCall.FindStringSubmatch(call); m != nil {
		name, _ := inFolder(m[1])
		delete(now, name)
		d.names = append(d.names, now)
	}
	if saidCall.MatchString(call) {
		d.acknowledged++
	}
}

// data is the file with some of the sectors and sizes that are pending. A size is changed as a
// whole, and nothing is written behind it.
func (f *image) data(some func() bool) []byte {
	data := slices.Clone(f.safe)
	for i, w := range f.pending {
		if w.data == nil {
			if !some() {
				continue
			}
			data = append(data, make([]byte, max(w.offset-len(data), 0))...)[:w.offset]
			continue
		}
		if i == 0 || f.pending[i-1].data != nil { // else the size comes first
			data = append(data, make([]byte, max(w.offset+len(w.data)-len(data), 0))...)
		}
		for at := 0; at < len(w.data); at += sector {
			if w.offset+at < len(data) && some() {
				copy(data[w.offset+at:], w.data[at:min(at+sector, len(w.data))])
			}
		}
	}
	return data
}

// lose cuts the power now, and looks at the rest.
func (d *disk) lose(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	likely := rand.IntN(5) // none to all, in quarters
	for name, file := range d.names[rand.IntN(len(d.names))] {
		data := file.data(func() bool { return rand.IntN(4) < likely })
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, told := open(t, folder)
	got := content(j)
	closeJournal(t, j)
	want := afterWrites(d.acknowledged)
	if len(told) > 0 || !maps.Equal(got, want) && !maps.Equal(got, afterWrites(d.acknowledged+1)) {
		t.Errorf("after %d writes: %v, %s", d.acknowledged, told, cmp.Diff(want, got))
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
}
