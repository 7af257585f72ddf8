package bmc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// namespaced is set, in the environment, in the process of a test that may mount.
const namespaced = "IPMBD_NAMESPACED"

// inNamespaces reports whether the test may mount. If not, it runs the test in a process that may,
// in namespaces in which any user is root. Where a system allows no such namespaces, the test is
// skipped.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaced) != "" {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), namespaced+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skip("cannot make namespaces: ", err)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

const (
	add      = "0000 02 00000000 2000 04 01 30 01 57 60 5F" // Add SEL Entry
	boardFRU = "01020304"
)

// lostDisk is a BMC whose folder cannot be used.
type lostDisk struct {
	bench
	mu    sync.Mutex
	lines []string
}

func (d *lostDisk) tell(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, text)
}

// told returns what the BMC has reported.
func (d *lostDisk) told() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// openLost opens a BMC on a folder.
func openLost(t *testing.T, folder string) *lostDisk {
	t.Helper()
	d := &lostDisk{}
	d.bench = bench{t: t, bmc: opened(t, Config{Folder: folder, FRUs: []FRUConfig{{Name: "Board", Data: octets(boardFRU)}},
		Report:    func(err error) { d.tell("report: " + err.Error()) },
		DiskState: func(cause error) { d.tell(fmt.Sprint("disk: ", cause)) },
	})}
	return d
}

// fills stores one of each kind of value, and keepsAll checks them: the first byte of the FRU, and
// as many records and the boot option as were stored.
func (b *bench) fills(number int) {
	b.t.Helper()
	b.is("add a record", b.storage(0x44, add)[:1], "00")
	b.is("write the FRU", b.storage(0x12, fmt.Sprintf("00 %02X00 %02X", number, 0xA0+number)), "00 01")
	b.is("set a policy", b.chassis(0x06, fmt.Sprintf("%02X", number)), "00 07")
}

func (b *bench) keeps(what string, policy int, fru string, records int) {
	b.t.Helper()
	b.is(what+": records", b.storage(0x40, "")[:3], fmt.Sprintf("00 51 %02X", records))
	b.is(what+": FRU", b.storage(0x11, "00 0000 04"), "00 04 "+fru)
	b.is(what+": policy", b.chassis(0x01, "")[1:2], fmt.Sprintf("%02X", 1|policy<<5))
	seen := make(map[uint16]bool)
	for _, e := range b.bmc.log.entries {
		if seen[e.record.ID()] {
			b.t.Errorf("%s: two records have the ID %04Xh", what, e.record.ID())
		}
		seen[e.record.ID()] = true
	}
}

// A folder that cannot be used at the start costs what it costs later: the BMC serves, keeps its
// state in memory, says so once, fails its self test, and has everything on the disk within a
// minute after the disk is back. What was on the disk is not lost.
func TestDiskIsLostAtTheStart(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	const journal, spare = journalName, "spare"
	fill := func(t *testing.T, folder string) {
		b := openLost(t, folder)
		b.fills(1)
		b.closes()
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	readOnly := func(t *testing.T, folder string) func() {
		must(t, syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		return func() { must(t, syscall.Mount("", folder, "", syscall.MS_REMOUNT, "size=512k")) }
	}
	full := func(t *testing.T, folder string) func() {
		name := filepath.Join(folder, spare)
		file, err := os.Create(name)
		must(t, err)
		for err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		must(t, file.Close())
		return func() { must(t, os.Remove(name)) }
	}
	damaged := func(t *testing.T, folder string) {
		fill(t, folder)
		file, err := os.OpenFile(filepath.Join(folder, journal), os.O_RDWR, 0)
		must(t, err)
		_, err = file.WriteAt([]byte("x"), 2)
		must(t, errors.Join(err, file.Close()))
	}
	inUse := func(t *testing.T, folder string) func() {
		other := openLost(t, folder)
		return func() { other.closes() }
	}
	for name, test := range map[string]struct {
		before func(t *testing.T, folder string)
		breaks func(t *testing.T, folder string) (mend func())
		cause  string
		read   bool // what was on the disk is there at once
		full   bool // the records of before are there at the end
	}{
		"read-only and empty":               {nil, readOnly, "read-only file system", true, false},
		"read-only":                         {fill, readOnly, "read-only file system", true, true},
		"read-only, with a damaged journal": {damaged, readOnly, "read-only file system", true, true},
		"full and empty":                    {nil, full, "no space left", true, false},
		"full, with a damaged journal":      {damaged, full, "no space left", true, true},
		"in use and empty":                  {nil, inUse, "in use", false, false},
		"in use":                            {fill, inUse, "in use", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := mount(t, 0, "size=512k")
			if test.before != nil {
				test.before(t, folder)
			}
			mend := test.breaks(t, folder)
			synctest.Test(t, func(t *testing.T) {
				b := openLost(t, folder)
				ctx, cancel := context.WithCancel(t.Context())
				var loop sync.WaitGroup
				loop.Go(func() { b.bmc.Run(ctx) })
				b.is("self test", b.app(0x04, ""), "00 57 A0")
				records, fru := 0, boardFRU
				if test.read && test.full {
					records, fru = 1, "01A10304"
				}
				b.keeps("at the start", records, fru, records)
				b.fills(2)
				fru = fru[:4] + "A204"
				b.keeps("in memory", 2, fru, records+1)
				time.Sleep(3 * retryTime)
				synctest.Wait()
				b.is("self test", b.app(0x04, ""), "00 57 A0")
				if len(b.told()) != 1 || !strings.Contains(b.told()[0], "disk: ") || !strings.Contains(b.told()[0], test.cause) {
					t.Errorf("told %q", b.told())
				}
				mend()
				time.Sleep(retryTime)
				synctest.Wait()
				b.is("self test", b.app(0x04, ""), "00 55 00")
				if told := b.told(); told[len(told)-1] != "disk: <nil>" {
					t.Errorf("told %q", b.told())
				}
				if test.full {
					records = 1
				}
				b.keeps("on the disk", 2, fru, records+1)
				guid := fmt.Sprintf("%X", b.app(0x37, ""))
				cancel()
				loop.Wait()
				b.closes()
				b = openLost(t, folder)
				b.keeps("after a restart", 2, fru, records+1)
				b.is("GUID", b.app(0x37, ""), guid)
				if len(b.told()) > 0 {
					t.Errorf("told %q", b.told())
				}
				b.closes()
			})
		})
	}
}

// A disk that fails while the BMC runs costs the same, whatever the error, and if it hangs. A call
// that hangs is left alone until it returns.
func TestDiskIsLostLater(t *testing.T) {
	hang := errors.New("hangs")
	for _, fault := range []error{syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.ESTALE, syscall.ENODEV, hang} {
		t.Run(fault.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				folder := t.TempDir()
				b := openLost(t, folder)
				ctx, cancel := context.WithCancel(t.Context())
				var loop sync.WaitGroup
				loop.Go(func() { b.bmc.Run(ctx) })
				b.fills(1)
				j := b.bmc.journal
				store, restore := j.store, j.restore
				var calls atomic.Int64
				mended, works := make(chan struct{}), new(atomic.Bool)
				fails := func() error {
					calls.Add(1)
					if fault == hang {
						<-mended
						return nil
					}
					return fault
				}
				j.store = func(values map[string][]byte, changes []change) error {
					if works.Load() {
						return store(values, changes)
					}
					return fails()
				}
				j.restore = func(values map[string][]byte, unread bool) (map[string][]byte, error) {
					if works.Load() {
						return restore(values, unread)
					}
					return nil, fails()
				}
				begin := time.Now()
				b.fills(2)
				if took := time.Since(begin); took > diskTime {
					t.Errorf("three writes took %v", took)
				}
				b.keeps("in memory", 2, "01A1A204", 2)
				b.is("self test", b.app(0x04, ""), "00 57 A0")
				time.Sleep(2*retryTime + time.Second)
				cause, wantCalls := fault.Error(), int64(3)
				if fault == hang {
					cause, wantCalls = errDiskHangs.Error(), 1
				}
				if len(b.told()) != 1 || b.told()[0] != "disk: "+cause || calls.Load() != wantCalls {
					t.Errorf("told %q, %d calls", b.told(), calls.Load())
				}
				close(mended)
				synctest.Wait()
				works.Store(true)
				time.Sleep(retryTime)
				synctest.Wait()
				b.is("self test", b.app(0x04, ""), "00 55 00")
				if len(b.told()) != 2 || b.told()[1] != "disk: <nil>" {
					t.Errorf("told %q", b.told())
				}
				b.fills(3)
				cancel()
				loop.Wait()
				b.closes()
				b = openLost(t, folder)
				b.keeps("after a restart", 2, "01A1A2A3", 3)
				b.closes()
			})
		})
	}
}

// The end waits for a disk that hangs for 2 s, and a disk that is back has everything at the end.
func TestEndWithALostDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openLost(t, t.TempDir())
		hangs := make(chan struct{})
		b.bmc.onDisk(func() error { <-hangs; return nil })
		b.fills(1)
		begin := time.Now()
		if err := b.bmc.Close(); !errors.Is(err, errDiskHangs) {
			t.Error(err)
		}
		if took := time.Since(begin); took > diskTime {
			t.Errorf("it took %v", took)
		}
		close(hangs)
		synctest.Wait()
		_ = b.bmc.journal.close() // abandoned by Close
	})
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		b := openLost(t, folder)
		b.bmc.onDisk(func() error { return errFire })
		b.fills(1)
		b.closes()
		b = openLost(t, folder)
		b.keeps("after a restart", 1, "01A10304", 1)
		b.closes()
	})
}

// Paths that can never be a folder are errors.
func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{file, filepath.Join(file, "below"), "/" + strings.Repeat("x", 300)} {
		if _, err := openJournal(folder, nil, nil); err == nil || !strings.Contains(err.Error(), folder[:10]) {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

// Records that were added while the journal could not be read keep their numbers and IDs. The IDs
// of records that are on the disk change if they are in that range.
func TestMergedLogs(t *testing.T) {
	values := func(first uint64, ids ...uint16) map[string][]byte {
		all := make(map[string][]byte)
		for i, id := range ids {
			e := entry{number: first + uint64(i)}
			e.record[0], e.record[1] = byte(id), byte(id>>8)
			all[e.name()] = e.record[:]
		}
		return all
	}
	disk := values(1, 1, unreadID, unreadID+1, unreadID+2)
	memory := values(unreadNumber+1, unreadID+1, unreadID+2)
	var got []uint16
	for _, e := range entriesOf(mergeValues(disk, memory)) {
		got = append(got, e.record.ID())
	}
	want := []uint16{1, unreadID, unreadID - 1, unreadID - 2, unreadID + 1, unreadID + 2}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%X, want %X", got, want)
	}
}
