package bmc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

// bench is a BMC in virtual time, which begins in the year 2000.
type bench struct {
	t   *testing.T
	bmc *BMC
}

// opened opens a BMC. Nothing may be wrong with its journal, unless Report says otherwise.
func opened(t testing.TB, c Config) *BMC {
	t.Helper()
	if c.Report == nil {
		c.Report = func(err error) { t.Error(err) }
	}
	if c.DiskState == nil {
		c.DiskState = c.Report
	}
	b, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Folder != "" {
		t.Cleanup(func() { b.Close() })
	}
	return b
}

// closes closes the BMC.
func (b *bench) closes() {
	b.t.Helper()
	if err := b.bmc.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// onDisk has the changes of a BMC's journal stored by a function.
func (b *BMC) onDisk(store func() error) {
	b.journal.store = func(map[string][]byte, []change) error { return store() }
}

var errFire = errors.New("disk on fire")

func story(t *testing.T, name string, tell func(t *testing.T, b *bench)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { tell(t, &bench{t: t, bmc: opened(t, Config{})}) })
	})
}

func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// asks is the answer to a request, completion code first.
func (b *bench) asks(n ipmi.NetFn, cmd ipmi.Command, data ...byte) []byte {
	b.t.Helper()
	response, err := ipmi.Do(b.t.Context(), b.bmc, &ipmi.Request{NetFn: n, Command: cmd, Data: data})
	if err != nil {
		b.t.Fatal(err)
	}
	return append([]byte{byte(response.Code)}, response.Data...)
}

func (b *bench) storage(cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.asks(ipmi.NetFnStorage, cmd, octets(data)...)
}

func (b *bench) is(what string, got []byte, want string) {
	b.t.Helper()
	if !bytes.Equal(got, octets(want)) {
		b.t.Errorf("%s: % X, want %s", what, got, want)
	}
}

var event = ipmi.Event{Generator: 0x002C, Message: [7]byte{4, 1, 0x30, 1, 0x57, 0x60, 0x5F}}

func TestLog(t *testing.T) {
	story(t, "events are read as they came", func(t *testing.T, b *bench) {
		b.is("info of an empty log", b.storage(0x40, ""), "00 51 0000 FFFF FFFFFFFF FFFFFFFF 0F")
		b.is("first of none", b.storage(0x43, "0000 0000 00 FF"), "CB")
		for range 2 {
			if err := b.bmc.log.Add(t.Context(), event); err != nil {
				t.Fatal(err)
			}
		}
		b.is("info", b.storage(0x40, ""), "00 51 0200 E0FF 80436D38 FFFFFFFF 0F")
		b.is("first", b.storage(0x43, "0000 0000 00 FF"), "00 0200 0100 02 80436D38 2C00 04 01 30 01 57 60 5F")
		b.is("second", b.storage(0x43, "0000 0200 00 FF"), "00 FFFF 0200 02 80436D38 2C00 04 01 30 01 57 60 5F")
		b.is("last", b.storage(0x43, "0000 FFFF 00 FF"), "00 FFFF 0200 02 80436D38 2C00 04 01 30 01 57 60 5F")
		b.is("third", b.storage(0x43, "0000 0300 00 FF"), "CB")
		b.is("a part without a reservation", b.storage(0x43, "0000 0100 07 02"), "C5")
		b.is("reserve", b.storage(0x42, ""), "00 0100")
		b.is("a part", b.storage(0x43, "0100 0100 07 02"), "00 0200 2C00")
		b.is("beyond its end", b.storage(0x43, "0100 0100 0E FF"), "00 0200 605F")
		b.is("behind its end", b.storage(0x43, "0100 0100 10 01"), "C9")
	})

	story(t, "records are added and all cleared", func(t *testing.T, b *bench) {
		b.is("with a time of the log's", b.storage(0x44, "FFFF 02 11223344 4100 04 20 00 6F A1 00 00"), "00 0100")
		b.is("read", b.storage(0x43, "0000 0100 00 FF"), "00 FFFF 0100 02 80436D38 4100 04 20 00 6F A1 00 00")
		b.is("without a time", b.storage(0x44, "FFFF F0 2001 4F6F7073 00000000000000"), "00 0200")
		b.is("read", b.storage(0x43, "0000 0200 00 FF"), "00 FFFF 0200 F0 2001 4F6F7073 00000000000000")
		b.is("clear without a reservation", b.storage(0x47, "0000 434C52 AA"), "C5")
		b.is("reserve", b.storage(0x42, ""), "00 0100")
		b.is("clear without its word", b.storage(0x47, "0100 434C53 AA"), "CC")
		b.is("clear", b.storage(0x47, "0100 434C52 AA"), "00 01")
		b.is("info", b.storage(0x40, ""), "00 51 0000 FFFF 80436D38 80436D38 0F")
		b.is("with the reservation that has ended", b.storage(0x47, "0100 434C52 AA"), "C5")
	})

	story(t, "a full log takes no more and says so", func(t *testing.T, b *bench) {
		for range defaultCapacity {
			if err := b.bmc.log.Add(t.Context(), event); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.bmc.log.Add(t.Context(), event); !errors.Is(err, ipmi.ErrNoSpace) {
			t.Error(err)
		}
		b.is("add", b.storage(0x44, "FFFF 02 11223344 4100 04 20 00 6F A1 00 00"), "C4")
		b.is("info", b.storage(0x40, ""), "00 51 0010 0000 80436D38 FFFFFFFF 8F")
	})

	story(t, "its clock is set", func(t *testing.T, b *bench) {
		b.is("time", b.storage(0x48, ""), "00 80436D38")
		b.is("set", b.storage(0x49, "00000050"), "00")
		time.Sleep(3 * time.Second)
		b.is("time", b.storage(0x48, ""), "00 03000050")
	})
}

func TestWhatIsNotServed(t *testing.T) {
	story(t, "each command with a wrong length, and on another LUN", func(t *testing.T, b *bench) {
		for _, c := range commands {
			b.is("too long", b.asks(c.netFn, c.command, make([]byte, c.max+1)...), "C7")
			if c.min > 0 {
				b.is("too short", b.asks(c.netFn, c.command, make([]byte, c.min-1)...), "C7")
			}
			got, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{NetFn: c.netFn, LUN: 1, Command: c.command})
			if got.Code != ipmi.CodeInvalidForLUN || err != nil {
				t.Errorf("%v: %v, %v", c.command, got, err)
			}
		}
		if _, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{NetFn: ipmi.NetFnApp, Command: 0x99}); !errors.Is(err, ipmi.ErrNoHandler) {
			t.Error(err)
		}
	})
}
