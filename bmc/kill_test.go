package bmc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"ipmbd/bmc/record"
	"ipmbd/internal/testmain"
)

// What the environment says to these tests.
const (
	killsVariable  = "IPMBD_KILLS"  // how often a writer is killed; 25, or 100
	folderVariable = "IPMBD_WRITES" // where to write: the test kills this process
)

// TestKilledWriter kills a process that changes all stored values, at random moments. The changes
// that it has reported must be there.
func TestKilledWriter(t *testing.T) {
	if folder := os.Getenv(folderVariable); folder != "" {
		newWriter(t, folder).write()
		return
	}
	kills := testmain.Amount(25, 100)
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	folder, m := t.TempDir(), newMemory()
	for range kills {
		writeAndKill(t, folder, m)
		b := openWritten(t, folder)
		m.compare(t, b)
		b.closes()
		if t.Failed() {
			return
		}
	}
}

// openWritten opens the files of the writers.
func openWritten(t *testing.T, folder string) *bench {
	t.Helper()
	return &bench{t: t, bmc: opened(t, Config{Folder: folder, FRUs: []FRUConfig{{Name: "Board", Size: 4}}})}
}

// writeAndKill runs a writer and kills it after some of its reports.
func writeAndKill(t *testing.T, folder string, m *writtenMemory) {
	t.Helper()
	writer := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	writer.Env = append(os.Environ(), folderVariable+"="+folder)
	said, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	left := 1 + rand.IntN(60)
	var others []string
	for lines := bufio.NewScanner(said); lines.Scan(); {
		done, known := m.hear(lines.Text())
		if !known {
			others = append(others, lines.Text())
		}
		if done {
			if left--; left == 0 {
				writer.Process.Kill()
			}
		}
	}
	writer.Wait()
	if left > 0 {
		t.Fatalf("the writer ended by itself: %q", others)
	}
}

// writtenMemory has the reports of the writers.
type writtenMemory struct {
	records map[uint16]uint32 // the numbers of those that were added, by ID
	ending  map[uint16]uint32 // of those that are being deleted or cleared
	gone    map[uint32]bool
	begun   map[string]uint32 // values, by their subject
	values  map[string]uint32 // that are acknowledged
}

func newMemory() *writtenMemory {
	return &writtenMemory{map[uint16]uint32{}, map[uint16]uint32{}, map[uint32]bool{}, map[string]uint32{}, map[string]uint32{}}
}

// hear takes a line of a writer. What it has done it has begun before.
func (m *writtenMemory) hear(line string) (done, known bool) {
	var what string
	var id uint16
	var number uint32
	if n, _ := fmt.Sscanf(line, "%s %d %d", &what, &id, &number); n != 3 {
		return false, false
	}
	switch what {
	case "added":
		m.records[id] = number
		return true, true
	case "deleting":
		m.end(id)
	case "clearing":
		for id := range m.records {
			m.end(id)
		}
	case "deleted", "cleared":
		for id, number := range m.ending {
			m.gone[number] = true
			delete(m.ending, id)
		}
		return true, true
	case "writing", "setting":
		m.begun[what] = number
	case "wrote":
		m.values["writing"] = number
		return true, true
	case "set":
		m.values["setting"] = number
		return true, true
	default:
		return false, false
	}
	return false, true
}

func (m *writtenMemory) end(id uint16) {
	m.ending[id] = m.records[id]
	delete(m.records, id)
}

// compare checks that the stored values are the reported ones, and notes the doubtful ones.
func (m *writtenMemory) compare(t *testing.T, b *bench) {
	t.Helper()
	found := make(map[uint16]uint32)
	for _, e := range b.bmc.log.entries {
		number := binary.LittleEndian.Uint32(e.record[12:])
		found[e.record.ID()] = number
		if m.gone[number] {
			t.Errorf("record %d is back", number)
		}
	}
	for id, number := range m.records {
		if found[id] != number {
			t.Errorf("record %d is lost: %d, want %d", id, found[id], number)
		}
	}
	for id, number := range m.ending {
		if found[id] == number {
			m.records[id] = number
		} else {
			m.gone[number] = true
		}
	}
	clear(m.ending)
	kept := map[string]uint32{
		"writing": binary.LittleEndian.Uint32(b.storage(0x11, "00 0000 04")[2:]),
		"setting": uint32(b.chassis(0x01, "")[1] >> statusPolicyShift),
	}
	for what, value := range kept {
		if value != m.values[what] && value != m.begun[what] {
			t.Errorf("%s is %d, want %d or %d", what, value, m.values[what], m.begun[what])
		}
		m.values[what], m.begun[what] = value, value
	}
}

// writer changes all stored values, and reports each change.
type writer struct {
	*bench
	erasing sync.RWMutex // a goroutine that adds has it for reading
	out     sync.Mutex
	added   []uint16
}

func newWriter(t *testing.T, folder string) *writer {
	return &writer{bench: openWritten(t, folder)}
}

func (w *writer) say(what string, id uint16, number uint32) {
	w.out.Lock()
	defer w.out.Unlock()
	if what == "added" {
		w.added = append(w.added, id)
	}
	fmt.Println(what, id, number)
}

func (w *writer) write() {
	var all sync.WaitGroup
	for range 3 {
		all.Go(w.add)
	}
	all.Go(w.erase)
	all.Go(w.set)
	all.Wait()
}

// rounds are far more than a writer lives for.
const rounds = 1 << 16

func (w *writer) add() {
	for range rounds {
		r := record.Record{2: 0xE0}
		number := rand.Uint32()
		binary.LittleEndian.PutUint32(r[12:], number)
		w.erasing.RLock()
		id, err := w.bmc.log.add(r)
		if err == nil {
			w.say("added", id, number)
		}
		w.erasing.RUnlock()
		if err != nil {
			w.t.Error(err)
			return
		}
	}
}

// erase deletes the last record, and now and then all.
func (w *writer) erase() {
	for i := range rounds {
		w.erasing.Lock()
		reservation := fmt.Sprintf("%X", w.storage(0x42, "")[1:])
		if n := len(w.added); i%4 == 3 {
			w.say("clearing", 0, 0)
			w.is("clear", w.storage(0x47, reservation+"434C52 AA"), "00 01")
			w.added = nil
			w.say("cleared", 0, 0)
		} else if n > 0 {
			id := w.added[n-1]
			w.added = w.added[:n-1]
			w.say("deleting", id, 0)
			name := fmt.Sprintf("%02X%02X", byte(id), byte(id>>8))
			w.is("delete", w.storage(0x46, reservation+name), "00"+name)
			w.say("deleted", id, 0)
		}
		w.erasing.Unlock()
	}
}

func (w *writer) set() {
	for range rounds {
		number, policy := rand.Uint32(), rand.Uint32N(3)
		w.say("writing", 0, number)
		data := fmt.Sprintf("%X", binary.LittleEndian.AppendUint32(nil, number))
		w.is("write", w.storage(0x12, "00 0000"+data), "00 04")
		w.say("wrote", 0, number)
		w.say("setting", 0, policy)
		w.is("policy", w.chassis(0x06, fmt.Sprintf("%02X", policy)), "00 07")
		w.say("set", 0, policy)
	}
}
