package sel

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

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

func TestEntries(t *testing.T) {
	const (
		began      = Time(0x386D4380)
		foreign    = "0900 02 80436D38 2C00 04 01 30 01 57 60 5F"
		otherEvent = "1100 02 81436D38 4100 03 20 4F 6F A1 6F 70"
		otherPart0 = "1200 F0 22 00 4F6F70733A2062616420 61"
		otherPart1 = "1300 F0 22 01 6464726573730000000000"
		otherPart2 = "1400 F0 22 02 2A1B000000000000000000"
		oem        = "1500 F0 57 00 0102030405060708090A0B"
		oemPart    = "1600 F0 57 01 4142000043000000000000"
	)
	linux := func(id uint16, at Time, from Sender, text string, lines ...string) Entry {
		return Entry{ID: id, Time: at, Sender: from, Text: "Linux panic: " + text, Panic: true, Records: records(lines...)}
	}
	plain := func(line string) Entry {
		r := records(line)[0]
		return Entry{ID: r.ID(), Time: r.Time(), Sender: r.Sender(), Text: r.String(), Records: []Record{r}}
	}
	crash := linux(1, began, 0x20, "sysrq triggered crash", crashEvent, crashPart0, crashPart1)
	other := linux(0x11, began+1, 0x22, "Oops: bad address", otherEvent, otherPart0, otherPart1)
	for _, c := range []struct {
		name    string
		records []Record
		want    []Entry
	}{
		{"nothing", nil, []Entry{}},
		{"no panic", records(foreign), []Entry{plain(foreign)}},
		{"the event alone", records(crashEvent), []Entry{linux(1, began, 0x41, "sys ...", crashEvent)}},
		{"with its string", records(crashEvent, foreign, crashPart0, crashPart1), []Entry{crash, plain(foreign)}},
		{"without the event", records(crashPart0, crashPart1), []Entry{linux(2, NoTime, 0x20, "sysrq triggered crash", crashPart0, crashPart1)}},
		{"without its first part", records(crashEvent, crashPart1), []Entry{linux(1, began, 0x20, "... ered crash", crashEvent, crashPart1)}},
		{"without a part in between", records(otherEvent, otherPart0, otherPart2), []Entry{linux(0x11, other.Time, 0x22, "Oops: bad a ... *?", otherEvent, otherPart0, otherPart2)}},
		{"two, one after the other", records(crashEvent, crashPart0, crashPart1, otherEvent, otherPart0, otherPart1), []Entry{crash, other}},
		{"two, mixed", records(crashEvent, crashPart0, otherEvent, otherPart0, crashPart1, otherPart1), []Entry{crash, other}},
		{"twice the same", records(crashEvent, crashPart0, crashPart1, crashEvent, crashPart0, crashPart1), []Entry{crash, crash}},
		{"the string of another", records(crashEvent, otherPart0, otherPart1), []Entry{linux(1, began, 0x41, "sys ...", crashEvent), linux(0x12, NoTime, 0x22, "Oops: bad address", otherPart0, otherPart1)}},
		{"of the strings' type, and an OEM's", records(oem, oemPart), []Entry{plain(oem), plain(oemPart)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Entries(c.records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What other controllers have in their logs is nothing that we can choose.
func FuzzEntries(f *testing.F) {
	f.Add(octets(crashEvent + crashPart0 + crashPart1))
	for _, tt := range texts {
		f.Add(octets(tt.record))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		var all []Record
		for ; len(log) >= RecordLength; log = log[RecordLength:] {
			all = append(all, Record(log))
		}
		count := 0
		for _, e := range Entries(all) {
			count += len(e.Records)
			if len(e.Records) == 0 || e.ID != e.Records[0].ID() {
				t.Errorf("entry %04X of % X", e.ID, e.Records)
			}
			for _, text := range []string{e.Text, e.Sender.String(), e.Time.String()} {
				if text == "" || text != printable([]byte(text)) {
					t.Errorf("%q", text)
				}
			}
		}
		if count != len(all) {
			t.Errorf("entries of %d records, of %d", count, len(all))
		}
	})
}
