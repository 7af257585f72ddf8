package bmc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

func TestFRUFaults(t *testing.T) {
	long := strings.Repeat("x", 63)
	var many []string
	for range 33 {
		many = append(many, long)
	}
	for want, c := range map[string]FRUConfig{
		"must have 2 to 63 characters": {Name: "FRU", Fields: &record.FRU{Chassis: &record.FRUChassis{PartNumber: "x"}}},
		"product: ":                    {Name: "FRU", Fields: &record.FRU{Product: &record.FRUProduct{Version: long + "x"}}},
		"more than 2040":               {Name: "FRU", Fields: &record.FRU{Board: &record.FRUBoard{Custom: many}}},
		"the areas before it":          {Name: "FRU", Fields: &record.FRU{Chassis: &record.FRUChassis{Custom: many[:31]}, Board: &record.FRUBoard{Custom: many[:31]}, Product: &record.FRUProduct{}}},
		"not within 1996":              {Name: "FRU", Fields: &record.FRU{Board: &record.FRUBoard{Made: time.Unix(0, 0)}}},
		"more than one of":             {Name: "FRU", Data: []byte{1}, Fields: &record.FRU{}},
		"more than 65535":              {Name: "FRU", Size: 65536},
		"the name must have 2 to 16 ":  {Name: "x"},
		"FFh is reserved":              {Name: "FRU", ID: 0xFF},
		"entity instance 80h is above": {Name: "FRU", Instance: 0x80},
		`the ID is that of "Other"`:    {Name: "FRU", ID: 1},
	} {
		_, err := Open(Config{FRUs: []FRUConfig{{Name: "Other", ID: 1}, c}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestFRUCommands(t *testing.T) {
	story(t, "devices are read and written", func(t *testing.T, b *bench) {
		folder := t.TempDir()
		file := filepath.Join(t.TempDir(), "fru.bin")
		if err := os.WriteFile(file, []byte{1, 2, 3}, 0o600); err != nil {
			t.Fatal(err)
		}
		open := func() {
			b.bmc = opened(t, Config{Folder: folder, FRUs: []FRUConfig{
				{Name: "Mainboard", Entity: 7, Instance: 1, Data: bytes.Repeat([]byte{0xAA}, 300)},
				{Name: "Riser", ID: 3, Entity: 16, Instance: 2, File: file, Size: 5},
			}})
		}
		open()
		b.is("size", b.storage(0x10, "00"), "00 2C01 00")
		b.is("of the other", b.storage(0x10, "03"), "00 0500 00")
		b.is("of none", b.storage(0x10, "01"), "CB")
		b.is("all of the other", b.storage(0x11, "03 0000 FF"), "00 05 0102030000")
		b.is("its end", b.storage(0x11, "03 0400 08"), "00 01 00")
		b.is("behind its end", b.storage(0x11, "03 0500 01"), "C9")
		b.is("read none", b.storage(0x11, "01 0000 01"), "CB")
		b.is("more than an interface takes", b.storage(0x11, "00 0000 FF"), "00 FA"+strings.Repeat("AA", 250))
		r, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{Requester: 0x81, NetFn: ipmi.NetFnStorage, Command: 0x11, Data: []byte{0, 0, 0, 0xFF}})
		if len(r.Data) != 24 || r.Data[0] != 23 || err != nil {
			t.Errorf("by IPMB: % X, %v", r.Data, err)
		}
		b.is("write", b.storage(0x12, "03 0200 0708"), "00 02")
		b.is("beyond the end", b.storage(0x12, "03 0400 0708"), "C9")
		b.is("write none", b.storage(0x12, "01 0000 00"), "CB")
		b.is("read", b.storage(0x11, "03 0000 05"), "00 05 0102070800")
		b.is("its locator", b.storage(0x23, "0000 FFFF 00 FF"), "00 FFFF 0200 51 11 10 20 03 80 00 00 10 00 10 02 00 C5 5269736572")

		b.closes()
		open()
		b.is("after a restart", b.storage(0x11, "03 0000 05"), "00 05 0102070800")
		b.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		b.is("a write that is not kept", b.storage(0x12, "03 0000 0000"), "C4")
		b.is("as before", b.storage(0x11, "03 0000 05"), "00 05 0102070800")
	})

	t.Run("of a changed configuration", func(t *testing.T) {
		folder := t.TempDir()
		opens := func(size int, data string) (b *bench, told []error) {
			t.Helper()
			b = &bench{t: t, bmc: opened(t, Config{Folder: folder, Report: func(err error) { told = append(told, err) },
				FRUs: []FRUConfig{{Name: "Board", Size: size, Data: octets(data)}}})}
			return b, told
		}
		b, _ := opens(4, "01")
		b.is("write", b.storage(0x12, "00 0100 AA"), "00 01")
		b.closes()
		b, told := opens(4, "01")
		if len(told) != 0 {
			t.Error("nothing has changed: ", told)
		}
		b.closes()
		b, told = opens(6, "02")
		if len(told) != 1 || !strings.Contains(told[0].Error(), `FRU 0, "Board": its configuration has changed`) {
			t.Error(told)
		}
		b.is("larger", b.storage(0x10, "00"), "00 0600 00")
		b.is("what was written", b.storage(0x11, "00 0000 06"), "00 06 01AA00000000")
		b.is("write again", b.storage(0x12, "00 0500 BB"), "00 01")
		b.closes()
		b, told = opens(3, "02")
		if len(told) != 1 {
			t.Error("smaller: ", told)
		}
		b.is("nothing of it is lost", b.storage(0x11, "00 0000 06"), "00 06 01AA000000BB")
	})

	story(t, "two writes that are refused together leave nothing behind", func(t *testing.T, b *bench) {
		b.bmc = opened(t, Config{FRUs: []FRUConfig{{Name: "Board", Data: octets("01020304")}}})
		disk := make(chan error)
		b.bmc.onDisk(func() error { return <-disk })
		var writers sync.WaitGroup
		writers.Go(func() { b.is("another change", b.chassis(0x06, "01"), "C4") })
		synctest.Wait()
		writers.Go(func() { b.is("first", b.on("host1", 0, ipmi.NetFnStorage, 0x12, "00 0000 AA"), "C4") })
		writers.Go(func() { b.is("second", b.on("host2", 0, ipmi.NetFnStorage, 0x12, "00 0100 BB"), "C4") })
		synctest.Wait()
		b.is("while they are stored", b.storage(0x11, "00 0000 04"), "00 04 01020304")
		disk <- ipmi.ErrNoSpace
		disk <- ipmi.ErrNoSpace
		writers.Wait()
		b.is("then", b.storage(0x11, "00 0000 04"), "00 04 01020304")
		b.bmc.onDisk(func() error { return nil })
		b.is("the next write", b.storage(0x12, "00 0300 CC"), "00 01")
		b.is("its bytes only", b.storage(0x11, "00 0000 04"), "00 04 010203CC")
	})

	story(t, "without content it has the header of an empty FRU", func(t *testing.T, b *bench) {
		b.bmc = opened(t, Config{FRUs: []FRUConfig{{Name: "Sized", Size: 64}, {Name: "Bare", ID: 1}}})
		b.is("size", b.storage(0x10, "00"), "00 4000 00")
		b.is("bytes", b.storage(0x11, "00 0000 0A"), "00 0A 01 00 00 00 00 00 00 FF 0000")
		b.is("as large as the header", b.storage(0x10, "01"), "00 0800 00")
		b.is("bytes", b.storage(0x11, "01 0000 0A"), "00 08 01 00 00 00 00 00 00 FF")
	})

	story(t, "whose file cannot be read, which fails the self test", func(t *testing.T, b *bench) {
		for file, cause := range map[string]string{
			"/nowhere/fru.bin": "no such file", "/dev/zero": "too long", "/proc/self/mem": "input/output error", "/": "directory",
		} {
			board := FRUConfig{Name: "Board", File: file, Size: 16}
			if err := board.CheckFile(); err == nil || !strings.Contains(err.Error(), cause) || !strings.Contains(err.Error(), "Board") {
				t.Errorf("%s: %v", file, err)
			}
			b.bmc = opened(t, Config{FRUs: []FRUConfig{board, {Name: "Riser", ID: 1, Data: octets("0A")}}})
			b.is("bytes", b.storage(0x11, "00 0000 0A"), "00 0A 01 00 00 00 00 00 00 FF 0000")
			b.is("another one", b.storage(0x11, "01 0000 01"), "00 01 0A")
			b.is("self test", b.app(0x04, ""), "00 57 20")
		}
	})

	story(t, "none", func(t *testing.T, b *bench) { b.is("size", b.storage(0x10, "00"), "CB") })
}

func FuzzFRU(f *testing.F) {
	f.Add(byte(0x11), []byte{0, 0, 0, 0xFF})
	f.Add(byte(0x12), []byte{0, 4, 0, 1, 2, 3})
	b := opened(f, Config{FRUs: []FRUConfig{{Name: "FRU", Fields: &record.FRU{Board: &record.FRUBoard{Name: "Board", SerialNumber: "0042"}}}}})
	size := len(b.frus[0].bytes())
	f.Fuzz(func(t *testing.T, cmd byte, data []byte) {
		if _, err := ipmi.Do(t.Context(), b, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: ipmi.Command(cmd), Data: data}); err != nil {
			return
		}
		if diff := cmp.Diff(size, len(b.frus[0].bytes())); diff != "" {
			t.Error(fmt.Sprint("the size has changed: ", diff))
		}
	})
}
