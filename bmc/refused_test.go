package bmc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

// keptValue is a value that the BMC keeps, and the requests that write it. RESERVED in a request
// is a new reservation of the log.
type keptValue struct {
	name    string
	netFn   ipmi.NetFn
	command ipmi.Command
	first   []string // make the value that is there before
	later   []string // are refused when the store fails
	reads   []string // beside those of the image
}

// keptValues are all values of the BMC that commands write and a restart finds again.
func keptValues() []keptValue {
	const record1, record2 = "FFFF 02 00000000 4100 04 20 01 6F A1 00 00", "FFFF 02 00000000 4100 04 20 02 6F A2 00 00"
	name := func(letter string) string { return "02" + strings.Repeat(letter, 16) }
	values := []keptValue{
		{"user access", ipmi.NetFnApp, 0x43, []string{"91 02 04"}, []string{"A1 02 03", "B1 02 02"}, nil},
		{"user name", ipmi.NetFnApp, 0x45, []string{name("61")}, []string{name("62"), name("63")}, nil},
		{"user state", ipmi.NetFnApp, 0x47, []string{"02 01"}, []string{"02 00", "03 01"}, nil},
		{"password", ipmi.NetFnApp, 0x47, []string{"02 02" + strings.Repeat("61", 16)},
			[]string{"02 02" + strings.Repeat("62", 16), "82 02" + strings.Repeat("63", 20)},
			[]string{"02 03" + strings.Repeat("61", 16), "02 03" + strings.Repeat("62", 16), "82 03" + strings.Repeat("63", 20)}},
		{"power restore policy", ipmi.NetFnChassis, 0x06, []string{"01"}, []string{"02", "00"}, nil},
		{"set in progress of boot options", ipmi.NetFnChassis, 0x08, []string{"00 00"}, []string{"80 01", "00 00"}, nil},
		{"cold reset", ipmi.NetFnApp, 0x02, nil, []string{"", ""}, nil},
		{"boot flag clearing", ipmi.NetFnChassis, 0x08, []string{"03 08"}, []string{"03 01", "83 02"}, nil},
		{"boot flags", ipmi.NetFnChassis, 0x08, []string{"05 80 04 00 00 00"}, []string{"05 80 08 00 00 00", "85 C0 14 00 00 00"}, nil},
		{"boot option's lock", ipmi.NetFnChassis, 0x08, []string{"85 80 04 00 00 00"}, []string{"05", "05 80 08 00 00 00"}, nil},
		{"boot acknowledge", ipmi.NetFnChassis, 0x08, []string{"04 01 E1"}, []string{"04 03 E2", "84 02 E2"}, nil},
		{"boot initiator", ipmi.NetFnChassis, 0x08, []string{"06 01 02020202 03030303"}, []string{"06 02 04040404 05050505", "86 03 06060606 07070707"}, nil},
		{"record", ipmi.NetFnStorage, 0x44, []string{record1}, []string{record2, record1}, nil},
		{"record in parts", ipmi.NetFnStorage, 0x45, nil, []string{"RESERVED 0000 00 01" + record1, "RESERVED 0000 00 01" + record2}, nil},
		{"deleted record", ipmi.NetFnStorage, 0x46, nil, []string{"RESERVED 0100", "RESERVED 0200"}, nil},
		{"cleared log", ipmi.NetFnStorage, 0x47, nil, []string{"RESERVED 434C52 AA", "RESERVED 434C52 AA"}, nil},
		{"time of the log", ipmi.NetFnStorage, 0x49, []string{"00000050"}, []string{"00000060", "00000070"}, nil},
		{"time of the repository", ipmi.NetFnStorage, 0x29, []string{"00000050"}, []string{"00000060", "00000070"}, nil},
		{"offset to UTC", ipmi.NetFnStorage, 0x5D, []string{"3C00"}, []string{"7800", "B400"}, nil},
		{"inventory", ipmi.NetFnStorage, 0x12, []string{"00 0000 AAAA"}, []string{"00 0000 BB", "00 0100 CC"}, nil},
	}
	for _, parameter := range []string{"01", "02"} {
		values = append(values, keptValue{"boot parameter " + parameter, ipmi.NetFnChassis, 0x08, []string{parameter + "01"},
			[]string{parameter + "02", parameter + "03"}, nil})
	}
	for block := range mailboxBlocks {
		begin := fmt.Sprintf("07 %02X", block)
		values = append(values, keptValue{"boot mailbox" + begin[2:], ipmi.NetFnChassis, 0x08, []string{begin + "4142"},
			[]string{begin + "4344", begin + "4546"}, nil})
	}
	for parameter := 1; parameter <= lastInfoText; parameter++ {
		if volatileInfo[parameter] {
			continue
		}
		for block, text := range []string{"00 02 61", "61 62 63"} {
			begin := fmt.Sprintf("%02X %02X", parameter, block)
			values = append(values, keptValue{"system info " + begin, ipmi.NetFnApp, 0x58, []string{begin + text + "64"},
				[]string{begin + text + "65", begin + text + "66"}, nil})
		}
	}
	for parameter, data := range map[byte][3]string{
		3: {"0A000001", "0A000002", "0A000003"}, 4: {"01", "02", "00"}, 5: {"020000000001", "020000000002", "020000000003"},
		6: {"FFFFFF00", "FFFF0000", "FF000000"}, 7: {"404010", "414010", "424010"}, 8: {"6F02", "7002", "7102"},
		9: {"9802", "9902", "9A02"}, 10: {"01", "02", "03"}, 11: {"01", "02", "03"}, 12: {"0A000001", "0A000002", "0A000003"},
		13: {"020000000001", "020000000002", "020000000003"}, 14: {"0A000001", "0A000002", "0A000003"},
		15: {"020000000001", "020000000002", "020000000003"}, 20: {"0580", "0680", "0780"}, 21: {"01", "02", "03"},
		16: {"61" + strings.Repeat("00", 17), "62" + strings.Repeat("00", 17), "63" + strings.Repeat("00", 17)},
		24: {"00 2222222222222222", "00 3333333333333333", "00 4444444444444444"}, 26: {"010100000000", "010200000000", "010300000000"},
	} {
		begin := fmt.Sprintf("01 %02X", parameter)
		values = append(values, keptValue{"LAN parameter " + begin, ipmi.NetFnTransport, 0x01, []string{begin + data[0]},
			[]string{begin + data[1], begin + data[2]}, nil})
	}
	return values
}

// image is what commands read from the BMC.
func (b *bench) image(v keptValue) []string {
	b.t.Helper()
	var all []string
	read := func(n ipmi.NetFn, cmd ipmi.Command, data string) {
		answer := b.on(host0, 0, n, cmd, data)
		if n == ipmi.NetFnStorage && cmd == 0x40 {
			answer[len(answer)-1] &^= 0x80 // Overflow: a full disk loses records.
		}
		all = append(all, fmt.Sprintf("%02X %02X %s: % X", uint8(n), uint8(cmd), data, answer))
	}
	for id := range 4 {
		read(ipmi.NetFnApp, 0x44, fmt.Sprintf("01 %02X", id+1))
		read(ipmi.NetFnApp, 0x46, fmt.Sprintf("%02X", id+1))
	}
	read(ipmi.NetFnApp, 0x38, "01 04")
	for parameter := range lastInfoText {
		for block := range 2 {
			read(ipmi.NetFnApp, 0x59, fmt.Sprintf("00 %02X %02X 00", parameter+1, block))
		}
	}
	read(ipmi.NetFnChassis, 0x01, "")
	for parameter := range bootMailbox {
		read(ipmi.NetFnChassis, 0x09, fmt.Sprintf("%02X 00 00", parameter))
	}
	for block := range mailboxBlocks {
		read(ipmi.NetFnChassis, 0x09, fmt.Sprintf("07 %02X 00", block))
	}
	for _, cmd := range []ipmi.Command{0x40, 0x41, 0x48, 0x5C, 0x28} {
		read(ipmi.NetFnStorage, cmd, "")
	}
	for id := range 4 {
		read(ipmi.NetFnStorage, 0x43, fmt.Sprintf("0000 %02X00 00 FF", id+1))
	}
	read(ipmi.NetFnStorage, 0x11, "00 0000 10")
	for parameter := range 27 {
		read(ipmi.NetFnTransport, 0x02, fmt.Sprintf("01 %02X 00 00", parameter))
	}
	for _, data := range v.reads {
		// The tests of passwords of an interface have pauses.
		iface := fmt.Sprint("reader", readers.Add(1))
		all = append(all, fmt.Sprintf("% X", b.on(iface, 0, v.netFn, v.command, data)))
	}
	return all
}

var readers atomic.Int64

// brokenDisk has bytes written, and fails when they are synchronized.
type brokenDisk struct {
	mu    sync.Mutex
	count int
	fail  error
	hold  chan struct{} // if it is not nil, a synchronization waits for it before it fails
}

func (d *brokenDisk) set(fail error, hold chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.hold = fail, hold
}

func (d *brokenDisk) sync(*os.File) error {
	d.mu.Lock()
	d.count++
	fail, hold := d.fail, d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return fail
}

// What the BMC does not keep leaves nothing that can be read: neither at once, nor when the next
// change is stored, nor after a restart.
func TestRefusedWritesLeaveNothing(t *testing.T) {
	failures := []struct {
		name     string
		err      error // With any other error the disk is lost, and nothing is refused.
		together bool  // the writes are stored together
	}{
		{"full disk", syscall.ENOSPC, false},
		{"full disk, several writes together", syscall.ENOSPC, true},
		{"quota", syscall.EDQUOT, false},
	}
	walked := map[commandKey]bool{{ipmi.NetFnChassis, 0x09}: true} // It stores that boot flags have expired.
	for _, v := range keptValues() {
		walked[commandKey{v.netFn, v.command}] = true
		for _, f := range failures {
			story(t, v.name+"/"+f.name, func(t *testing.T, b *bench) {
				folder, disk := t.TempDir(), new(brokenDisk)
				open := func() {
					j, err := openJournalFile(folder, func(error) {}, func(error) {}, disk.sync)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { j.Close() })
					b.bmc = opened(t, Config{journal: j, Report: func(error) {}, GUID: [16]byte{1},
						FRUs: []FRUConfig{{Name: "Board", Data: make([]byte, 16)}}})
				}
				write := func(iface, data string) byte {
					reserved := b.on(iface, 0, ipmi.NetFnStorage, 0x42, "")[1:]
					data = strings.Replace(data, "RESERVED", hex.EncodeToString(reserved), 1)
					return b.on(iface, 0, v.netFn, v.command, data)[0]
				}
				open()
				b.storage(0x44, someRecord)
				b.storage(0x44, someRecord)
				b.chassis(0x08, "86 01 0708090A 0B0C0D0E") // which a Cold Reset forgets
				for _, data := range v.first {
					disk.count = 0
					if code := write(host0, data); code != 0 || disk.count > 1 { // The second store may fail alone.
						t.Fatalf("%s: %02X, stored in %d steps", data, code, disk.count)
					}
				}
				b.closes()
				open()
				before := b.image(v)
				unchanged := func(when string) {
					t.Helper()
					if diff := cmp.Diff(before, b.image(v)); diff != "" {
						t.Errorf("%s: %s", when, diff)
					}
				}

				codes := make([]byte, len(v.later))
				if f.together {
					hold := make(chan struct{})
					disk.set(f.err, hold)
					var writers sync.WaitGroup
					writers.Go(func() { b.on("busy", 3, ipmi.NetFnChassis, 0x06, "01") })
					synctest.Wait()
					for i, data := range v.later {
						writers.Go(func() { codes[i] = write(fmt.Sprint("host", i), data) })
						synctest.Wait()
					}
					close(hold)
					writers.Wait()
				} else {
					disk.set(f.err, nil)
					for i, data := range v.later {
						codes[i] = write(host0, data)
					}
				}
				if !bytes.Equal(codes, bytes.Repeat([]byte{byte(ipmi.CodeOutOfSpace)}, len(codes))) {
					t.Fatalf("codes % X, want C4", codes)
				}
				unchanged("at once")
				disk.set(nil, nil)
				b.is("the next change", b.on("another", 3, ipmi.NetFnChassis, 0x06, "02"), "00 07")
				unchanged("after the next change")
				b.closes()
				open()
				unchanged("after a restart")
			})
		}
	}
	for key, c := range commands {
		if c.speed == waits && !walked[key] {
			t.Errorf("netFn %02Xh command %02Xh waits for the journal, and no value here is written by it", uint8(key.netFn), uint8(key.command))
		}
	}
}
