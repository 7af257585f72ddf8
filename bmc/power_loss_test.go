package bmc

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	// tracedVariable is where a writer that is traced writes, from the environment.
	tracedVariable = "IPMBD_TRACED"
	tracedWrites   = 24
	// sector is what a disk writes as a whole, or not at all.
	sector = 512
	// losses is how many ways a power cut at one moment goes.
	losses = 4
)

// tracedWrite is the nth write of the traced writer.
func tracedWrite(n int) []change {
	number := []byte{byte(n)}
	changes := []change{put(logBucket, number, bytes.Repeat(number, 16)), put(settingsBucket, []byte("n"), number)}
	switch n % 8 {
	case 2:
		changes = append(changes, put(fruBucket, []byte{0}, bytes.Repeat(number, 9000)))
	case 4:
		changes = append(changes, remove(logBucket, []byte{byte(n - 1)}))
	case 7:
		changes = append([]change{empty(logBucket)}, changes...)
	}
	return changes
}

// afterWrites is what a store has after so many of them.
func afterWrites(count int) map[string]string {
	all := make(map[string]string)
	for n := range count {
		for _, c := range tracedWrite(n) {
			key := fmt.Sprintf("%s %x", c.bucket, c.key)
			switch {
			case c.key == nil:
				maps.DeleteFunc(all, func(k, _ string) bool { return strings.HasPrefix(k, c.bucket+" ") })
			case c.data == nil:
				delete(all, key)
			default:
				all[key] = string(c.data)
			}
		}
	}
	return all
}

// TestPowerLoss writes under a tracer, and then cuts the power at each moment: of
// what was written and not synchronized since, any sectors are on the disk. What
// was acknowledged by then must be there, as must all or nothing of what was being
// written.
func TestPowerLoss(t *testing.T) {
	if folder := os.Getenv(tracedVariable); folder != "" {
		s, _ := open(t, folder)
		for n := range tracedWrites {
			if err := s.write(tracedWrite(n)...); err != nil {
				t.Fatal(err)
			}
			fmt.Println("acknowledged")
		}
		return
	}
	folder := t.TempDir()
	s, _ := open(t, folder)
	closeStore(t, s)
	path := filepath.Join(folder, storeName)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{safe: image}
	for _, call := range traced(t, folder) {
		d.take(t, call)
		d.lose(t)
		for range losses - 1 {
			if len(d.pending) > 0 { // else it goes one way
				d.lose(t)
			}
		}
		if t.Failed() {
			return
		}
	}
	if d.acknowledged != tracedWrites {
		t.Errorf("%d writes are acknowledged", d.acknowledged)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, d.safe) {
		t.Errorf("the file is not what the trace has made: %v", err)
	}
}

// traced are the system calls of the writer that matter.
func traced(t *testing.T, folder string) []string {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	writer := exec.Command("strace", "-f", "-qq", "-xx", "-s", strconv.Itoa(maxStoreSize), "-o", trace,
		"-e", `trace=/^(pwrite64|write|ftruncate(64)?|fdatasync|fsync)$`, os.Args[0], "-test.run=^TestPowerLoss$")
	writer.Env = append(os.Environ(), tracedVariable+"="+folder)
	out, err := writer.CombinedOutput()
	if !bytes.Contains(out, []byte("acknowledged")) {
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
	lines.Buffer(nil, maxStoreSize)
	for lines.Scan() {
		thread, call, _ := strings.Cut(lines.Text(), " ")
		if before, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			begun[thread] = before
			continue
		}
		if _, after, ok := strings.Cut(call, " resumed>"); ok {
			call = begun[thread] + after
		}
		calls = append(calls, call)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// The calls as the tracer prints them: bytes are all in hexadecimal.
var (
	writeCall    = regexp.MustCompile(`pwrite64\(\d+, "([^"]*)", \d+, (\d+)\) += \d+$`)
	truncateCall = regexp.MustCompile(`ftruncate(?:64)?\(\d+, (\d+)\) += 0$`)
	syncCall     = regexp.MustCompile(`(fdatasync|fsync)\(\d+\) += 0$`)
	saidCall     = regexp.MustCompile(`write\(1, "` + regexp.QuoteMeta(inHex("acknowledged\n")) + `"`)
)

func inHex(text string) (escaped string) {
	for _, c := range []byte(text) {
		escaped += fmt.Sprintf(`\x%02x`, c)
	}
	return escaped
}

// disk is one with a store on it.
type disk struct {
	safe         []byte
	pending      []sectors // written, and not synchronized
	acknowledged int
}

type sectors struct {
	offset int
	data   []byte
}

// take does what a call has done.
func (d *disk) take(t *testing.T, call string) {
	t.Helper()
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if m := writeCall.FindStringSubmatch(call); m != nil {
		data, err := hex.DecodeString(strings.ReplaceAll(m[1], `\x`, ""))
		if err != nil {
			t.Fatal(err)
		}
		d.pending = append(d.pending, sectors{number(m[2]), data})
	}
	if m := truncateCall.FindStringSubmatch(call); m != nil {
		d.safe = append(d.safe, make([]byte, max(number(m[1])-len(d.safe), 0))...)
	}
	if syncCall.MatchString(call) {
		for _, w := range d.pending {
			d.safe = w.write(d.safe, func() bool { return true })
		}
		d.pending = nil
	}
	if saidCall.MatchString(call) {
		d.acknowledged++
	}
}

// write writes some of the sectors.
func (s sectors) write(image []byte, some func() bool) []byte {
	image = append(image, make([]byte, max(s.offset+len(s.data)-len(image), 0))...)
	for at := 0; at < len(s.data); at += sector {
		if some() {
			copy(image[s.offset+at:], s.data[at:min(at+sector, len(s.data))])
		}
	}
	return image
}

// lose cuts the power now, and looks what is left.
func (d *disk) lose(t *testing.T) {
	t.Helper()
	image := bytes.Clone(d.safe)
	likely := rand.IntN(5) // none to all, in quarters
	for _, w := range d.pending {
		image = w.write(image, func() bool { return rand.IntN(4) < likely })
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, storeName), image, 0o600); err != nil {
		t.Fatal(err)
	}
	s, told := open(t, folder)
	got := content(s)
	closeStore(t, s)
	if diff := cmp.Diff(afterWrites(d.acknowledged), got); len(told) > 0 ||
		diff != "" && !maps.Equal(got, afterWrites(d.acknowledged+1)) {
		t.Errorf("after %d writes, with %d of the next not synchronized: %v, %s", d.acknowledged, len(d.pending), told, diff)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
}
