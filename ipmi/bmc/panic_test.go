package bmc

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func records(lines ...string) []Record {
	var all []Record
	for _, line := range lines {
		all = append(all, Record(octets(line)))
	}
	return all
}

// What Linux 6.1 sent for "sysrq triggered crash".
const (
	crashEvent = "0100 02 80436D38 4100 03 20 73 6F A1 79 73"
	crashPart0 = "0200 F0 20 00 73797372712074726967 67"
	crashPart1 = "0300 F0 20 01 6572656420637261736800"
)

func TestPanics(t *testing.T) {
	began := time.Unix(0x386D4380, 0)
	const (
		foreign    = "0900 02 80436D38 2C00 04 01 30 01 57 60 5F"
		otherEvent = "1100 02 81436D38 4100 03 20 4F 6F A1 6F 70"
		otherPart0 = "1200 F0 22 00 4F6F70733A2062616420 61"
		otherPart1 = "1300 F0 22 01 6464726573730000000000"
		otherPart2 = "1400 F0 22 02 2A1B000000000000000000"
	)
	crash := Entry{1, began, 0x20, "sysrq triggered crash"}
	other := Entry{0x11, began.Add(time.Second), 0x22, "Oops: bad address"}
	for _, c := range []struct {
		name    string
		records []Record
		want    []Entry
	}{
		{"nothing", nil, []Entry{}},
		{"no panic", records(foreign), []Entry{}},
		{"the event alone", records(crashEvent), []Entry{{1, began, 0x41, "sys ..."}}},
		{"with its string", records(crashEvent, foreign, crashPart0, crashPart1), []Entry{crash}},
		{"without the event", records(crashPart0, crashPart1), []Entry{{2, time.Time{}, 0x20, "sysrq triggered crash"}}},
		{"without its first part", records(crashEvent, crashPart1), []Entry{{1, began, 0x20, "... ered crash"}}},
		{"without a part in between", records(otherEvent, otherPart0, otherPart2), []Entry{{0x11, other.Time, 0x22, "Oops: bad a ... *?"}}},
		{"two, one after the other", records(crashEvent, crashPart0, crashPart1, otherEvent, otherPart0, otherPart1), []Entry{crash, other}},
		{"two, mixed", records(crashEvent, crashPart0, otherEvent, otherPart0, crashPart1, otherPart1), []Entry{crash, other}},
		{"twice the same", records(crashEvent, crashPart0, crashPart1, crashEvent, crashPart0, crashPart1), []Entry{crash, crash}},
		{"the string of another", records(crashEvent, otherPart0, otherPart1), []Entry{{1, began, 0x41, "sys ..."}, {0x12, time.Time{}, 0x22, other.Text}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Panics(c.records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzPanics(f *testing.F) {
	f.Add(octets(crashEvent + crashPart0 + crashPart1))
	f.Fuzz(func(t *testing.T, log []byte) {
		var all []Record
		for ; len(log) >= recordLength; log = log[recordLength:] {
			all = append(all, Record(log))
		}
		entries := Panics(all)
		if len(entries) > len(all) {
			t.Errorf("%d entries of %d records", len(entries), len(all))
		}
		for _, e := range entries {
			if e.Text != printable([]byte(e.Text)) {
				t.Errorf("%q", e.Text)
			}
		}
	})
}
