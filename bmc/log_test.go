package bmc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// restart is the bench with its folder after a restart of the daemon.
func (b *bench) restart(folder string) {
	b.t.Helper()
	b.closes()
	b.bmc = opened(b.t, Config{Folder: folder, LogCapacity: 4})
}

// reserves is a new reservation of the log, as a request has it.
func (b *bench) reserves() string {
	b.t.Helper()
	return hex.EncodeToString(b.storage(0x42, "")[1:])
}

const someRecord = "FFFF 02 00000000 4100 04 20 00 6F A1 00 00"

func TestLogAfterRestart(t *testing.T) {
	story(t, "all of it is as it was", func(t *testing.T, b *bench) {
		folder := t.TempDir()
		b.restart(folder)
		b.is("set the time", b.storage(0x49, "00000050"), "00")
		b.is("set its offset", b.storage(0x5D, "88FF"), "00")
		for range 5 {
			b.storage(0x44, someRecord)
		}
		b.is("one is deleted", b.storage(0x46, b.reserves()+"0200"), "00 0200")
		time.Sleep(10 * time.Second)
		b.restart(folder)
		b.is("info", b.storage(0x40, ""), "00 51 0300 1000 00000050 00000050 8F")
		b.is("time", b.storage(0x48, ""), "00 0A000050")
		b.is("offset", b.storage(0x5C, ""), "00 88FF")
		b.is("first", b.storage(0x43, "0000 0000 00 FF"), "00 0300 0100 02 00000050 4100 04 20 00 6F A1 00 00")
		b.is("deleted", b.storage(0x43, "0000 0200 00 FF"), "CB")
		b.is("the next one", b.storage(0x44, someRecord), "00 0500")
		b.is("clear", b.storage(0x47, b.reserves()+"434C52 AA"), "00 01")
		b.restart(folder)
		b.is("info", b.storage(0x40, ""), "00 51 0000 4000 0A000050 0A000050 0F")
		b.is("the next one", b.storage(0x44, someRecord), "00 0600")
	})

	story(t, "without its state", func(t *testing.T, b *bench) {
		folder := t.TempDir()
		b.restart(folder)
		b.storage(0x44, someRecord)
		b.storage(0x44, someRecord)
		if err := b.bmc.journal.write(removeValue(logSetting)); err != nil {
			t.Fatal(err)
		}
		b.restart(folder)
		b.is("the next one", b.storage(0x44, someRecord), "00 0300")
		b.is("second", b.storage(0x43, "0000 0200 00 FF"), "00 0300 0200 02 80436D38 4100 04 20 00 6F A1 00 00")
	})

	story(t, "with a reservation of before", func(t *testing.T, b *bench) {
		folder := t.TempDir()
		b.restart(folder)
		b.storage(0x44, someRecord)
		before := b.reserves()
		b.restart(folder)
		b.is("clear", b.storage(0x47, before+"434C52 AA"), "C5")
	})
}

func TestLogCommands(t *testing.T) {
	story(t, "allocation", func(t *testing.T, b *bench) {
		b.is("of an empty log", b.storage(0x41, ""), "00 0010 1000 0010 0010 01")
		b.storage(0x44, someRecord)
		b.is("after a record", b.storage(0x41, ""), "00 0010 1000 FF0F FF0F 01")
	})

	story(t, "a record is deleted", func(t *testing.T, b *bench) {
		for range 3 {
			b.storage(0x44, someRecord)
		}
		b.is("without a reservation", b.storage(0x46, "0000 0100"), "C5")
		b.is("one that is not there", b.storage(0x46, b.reserves()+"0900"), "CB")
		reserved := b.reserves()
		b.is("the second", b.storage(0x46, reserved+"0200"), "00 0200")
		b.is("with the reservation that has ended", b.storage(0x46, reserved+"0100"), "C5")
		b.is("the first leads to the third", b.storage(0x43, "0000 0100 00 01"), "00 0300 01")
		b.is("the last", b.storage(0x46, b.reserves()+"FFFF"), "00 0300")
		b.is("the oldest", b.storage(0x46, b.reserves()+"0000"), "00 0100")
		b.is("none is left", b.storage(0x46, b.reserves()+"0000"), "CB")
	})

	story(t, "a record in parts", func(t *testing.T, b *bench) {
		b.is("without a reservation", b.storage(0x45, "0000 0000 00 00 FFFF02"), "C5")
		reserved := b.reserves()
		b.is("neither last nor not", b.storage(0x45, reserved+"0000 00 02 FFFF02"), "CC")
		b.is("of a record that was not begun", b.storage(0x45, reserved+"0100 03 00 00"), "CB")
		b.is("begin", b.storage(0x45, reserved+"0000 00 00 FFFF02 00000000"), "00 0100")
		b.is("a gap", b.storage(0x45, reserved+"0100 08 00 00"), "C9")
		b.is("go on", b.storage(0x45, reserved+"0100 07 00 4100 0420"), "00 0100")
		b.is("the end is too early", b.storage(0x45, reserved+"0100 0B 01 00"), "80")
		b.is("the end is too late", b.storage(0x45, reserved+"0100 0B 01 00 6F A1 01 02 03"), "80")
		b.is("nothing yet", b.storage(0x43, "0000 0000 00 FF"), "CB")
		b.is("end", b.storage(0x45, reserved+"0100 0B 01 00 6F A1 01 02"), "00 0100")
		b.is("all of it", b.storage(0x43, "0000 0000 00 FF"), "00 FFFF 0100 02 80436D38 4100 04 20 00 6F A1 01 02")
		b.is("the reservation has ended", b.storage(0x45, reserved+"0000 00 00 FF"), "C5")
	})

	story(t, "a record ends a reservation", func(t *testing.T, b *bench) {
		reserved := b.reserves()
		b.storage(0x44, someRecord)
		b.is("clear would lose it", b.storage(0x47, reserved+"434C52 AA"), "C5")
		b.is("a part", b.storage(0x43, reserved+"0100 01 01"), "C5")
	})

	story(t, "how far a clear is", func(t *testing.T, b *bench) {
		b.is("without a reservation", b.storage(0x47, "0000 434C52 00"), "C5")
		reserved := b.reserves()
		b.is("before", b.storage(0x47, reserved+"434C52 00"), "00 01")
		b.is("neither", b.storage(0x47, reserved+"434C52 01"), "CC")
		b.is("clear", b.storage(0x47, reserved+"434C52 AA"), "00 01")
		b.is("after", b.storage(0x47, reserved+"434C52 00"), "00 01")
		b.bmc.log.erasing = 1
		b.is("meanwhile", b.storage(0x47, reserved+"434C52 00"), "00 00")
	})

	story(t, "offset of its time", func(t *testing.T, b *bench) {
		b.is("unspecified", b.storage(0x5C, ""), "00 FF07")
		for _, set := range []string{"A005", "60FA", "FF07", "0000"} {
			b.is("set", b.storage(0x5D, set), "00")
			b.is("get", b.storage(0x5C, ""), "00"+set)
		}
		b.is("too far east", b.storage(0x5D, "A105"), "C9")
		b.is("too far west", b.storage(0x5D, "5FFA"), "C9")
	})
}

func TestIDsOfRecordsComeAgain(t *testing.T) {
	l := newLog(0, newJournal(nil))
	first, err := l.add(record.Record{})
	if err != nil {
		t.Fatal(err)
	}
	l.state.LastID = record.Last - 1
	if next, err := l.add(record.Record{}); err != nil || next != first+1 {
		t.Errorf("%d, %v", next, err)
	}
}

// A log that cannot store a record does not have it.
func TestLogOnFullDisk(t *testing.T) {
	l := opened(t, Config{Folder: mount(t, 0, "size=128k")}).Log()
	for range defaultCapacity {
		if err := l.Add(context.Background(), event); err != nil {
			if !errors.Is(err, ipmi.ErrNoSpace) || !l.state.Overflow {
				t.Errorf("%v, overflow %t", err, l.state.Overflow)
			}
			return
		}
	}
	t.Error("it never was full")
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{Folder: "/somewhere"},
		{LogCapacity: -1},
		{LogCapacity: 40000},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	if _, err := Open(Config{Folder: filepath.Join(os.DevNull, "x"), Report: func(error) {}, DiskState: func(error) {}}); err == nil {
		t.Error("a folder below a file")
	}
}

// After any request to the log, its records can be read one after the other.
func FuzzLog(f *testing.F) {
	f.Add([]byte{0x44, 16, 0xFF, 0xFF, 2, 0, 0, 0, 0, 0x41, 0, 4, 0x20, 0, 0x6F, 0xA1, 0, 0, 0x42, 0, 0x47, 6, 1, 0, 'C', 'L', 'R', 0xAA})
	f.Add([]byte{0x42, 0, 0x45, 7, 1, 0, 0, 0, 0, 0, 1, 0x46, 4, 1, 0, 0, 0, 0x43, 6, 0, 0, 0, 0, 0, 0xFF})
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			b := opened(t, Config{LogCapacity: 3})
			for len(script) >= 2 {
				cmd, n := ipmi.Command(script[0]), min(int(script[1]), len(script)-2)
				req := &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: cmd, Data: script[2 : 2+n]}
				script = script[2+n:]
				if res, err := ipmi.Do(t.Context(), b, req); err == nil && res.Code != ipmi.CodeOK && len(res.Data) > 0 {
					t.Errorf("% X: %v with data", req.Data, res.Code)
				}
			}
			count := 0
			for id := uint16(record.First); ; count++ {
				r, next := b.log.findRecord(id)
				if r == nil || next == record.Last {
					break
				}
				if bytes.Equal(r[:2], []byte{byte(next), byte(next >> 8)}) || count > 3 {
					t.Fatal("the records have no end")
				}
				id = next
			}
		})
	})
}
