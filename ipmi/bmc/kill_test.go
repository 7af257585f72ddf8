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

	"ipmbd/ipmi"
	"ipmbd/ipmi/sel"
)

// What the environment says to these tests.
const (
	killsVariable  = "IPMBD_KILLS"  // how often a writer is killed; 100
	folderVariable = "IPMBD_WRITES" // where to write: the process is to be killed
)

// TestKilledWriter kills a process that writes to a log at a random moment, again
// and again: no record that it said it had added may be missing.
func TestKilledWriter(t *testing.T) {
	if folder := os.Getenv(folderVariable); folder != "" {
		writeUntilKilled(t, folder)
		return
	}
	kills := 100
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	folder := t.TempDir()
	acknowledged := make(map[uint16]uint32) // numbers of the writers' by ID
	for range kills {
		writeAndKill(t, folder, acknowledged)
		s, told := open(t, folder)
		if len(told) != 0 {
			t.Fatal(told)
		}
		l := OpenLog(LogConfig{}, s)
		for id, number := range acknowledged {
			r, _, ok := l.find(id)
			if got := binary.LittleEndian.Uint32(r[12:]); !ok || got != number {
				t.Errorf("record %d is lost: %t, %d, want %d", id, ok, got, number)
			}
		}
		if len(l.entries) > defaultCapacity/2 {
			if code := l.clear(l.holder.next()); code != ipmi.CodeOK {
				t.Fatal(code)
			}
			clear(acknowledged)
		}
		closeStore(t, s)
		if t.Failed() {
			return
		}
	}
}

// writeAndKill runs a writer and kills it after some of the records that it says
// it has added.
func writeAndKill(t *testing.T, folder string, acknowledged map[uint16]uint32) {
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
	left := 1 + rand.IntN(30)
	var others []string
	for lines := bufio.NewScanner(said); lines.Scan(); {
		var id uint16
		var number uint32
		if n, _ := fmt.Sscanf(lines.Text(), "added %d %d\n", &id, &number); n != 2 {
			others = append(others, lines.Text())
			continue
		}
		acknowledged[id] = number
		if left--; left == 0 {
			writer.Process.Kill()
		}
	}
	writer.Wait()
	if left > 0 {
		t.Fatalf("the writer ended by itself: %q", others)
	}
}

// writeUntilKilled adds records, several at once, and says which it has added.
func writeUntilKilled(t *testing.T, folder string) {
	s, _ := open(t, folder)
	l := OpenLog(LogConfig{}, s)
	var out sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range defaultCapacity {
				r := sel.Record{2: 0xE0}
				number := rand.Uint32()
				binary.LittleEndian.PutUint32(r[12:], number)
				id, err := l.add(r)
				if err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Printf("added %d %d\n", id, number)
				out.Unlock()
			}
		})
	}
	all.Wait()
}
