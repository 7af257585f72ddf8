package record

import (
	"encoding/hex"
	"math/bits"
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

		// Two machines whose interfaces have the same address.
		a0      = "2100 F0 20 00 4141414141414141414141"
		a1      = "2200 F0 20 01 6161616161616161616161"
		a2      = "2300 F0 20 02 4141000000000000000000"
		b0      = "3100 F0 20 00 4242424242424242424242"
		b1      = "3200 F0 20 01 6262620000000000000000"
		bOn     = "3300 F0 20 01 6262626262626262626262"
		c0      = "4100 F0 20 00 43430000000000000000 00"
		later   = "0A00 02 BC436D38 2C00 04 01 30 01 57 60 5F" // 60 s after began
		aBegins = "2000 02 80436D38 4100 03 20 41 6F A1 41 41"
		bBegins = "3000 02 81436D38 4100 03 20 42 6F A1 42 42"
		oem     = "1500 F0 57 00 0102030405060708090A0B"
		oemPart = "1600 F0 57 01 4142000043000000000000"
	)
	linux := func(id uint16, at Time, from Generator, text string, lines ...string) Entry {
		return Entry{ID: id, Time: at, Generator: from, Text: "Linux panic: " + text, Panic: true, Records: records(lines...)}
	}
	about := func(at Time, id uint16, text string, lines ...string) Entry {
		e := linux(id, at, 0x20, text, lines...)
		e.About = at != NoTime
		return e
	}
	loose := func(at Time, number, text, line string) Entry {
		e := about(at, records(line)[0].ID(), "", line)
		e.Text = "Linux panic, part " + number + ": " + text
		return e
	}
	const textA, textB, restA, restB = "AAAAAAAAAAA", "BBBBBBBBBBB", "aaaaaaaaaaa", "bbb"
	plain := func(line string) Entry {
		r := records(line)[0]
		return Entry{ID: r.ID(), Time: r.Time(), Generator: r.Generator(), Text: r.String(), Records: []Record{r}}
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
		{"without its first part", records(crashEvent, crashPart1), []Entry{linux(1, began, 0x41, "sys ...", crashEvent), loose(began, "2", "ered crash", crashPart1)}},
		{"without a part in between", records(otherEvent, otherPart0, otherPart2), []Entry{linux(0x11, other.Time, 0x22, "Oops: bad a ...", otherEvent, otherPart0), {
			ID: 0x14, Time: other.Time, About: true, Generator: 0x22, Text: "Linux panic, part 3: *?", Panic: true, Records: records(otherPart2),
		}}},
		{"two, one after the other", records(crashEvent, crashPart0, crashPart1, otherEvent, otherPart0, otherPart1), []Entry{crash, other}},
		{"two, mixed", records(crashEvent, crashPart0, otherEvent, otherPart0, crashPart1, otherPart1), []Entry{crash, other}},
		{"twice the same", records(crashEvent, crashPart0, crashPart1, crashEvent, crashPart0, crashPart1), []Entry{crash, crash}},
		{"the string of another", records(crashEvent, otherPart0, otherPart1), []Entry{linux(1, began, 0x41, "sys ...", crashEvent), {
			ID: 0x12, Time: began, About: true, Generator: 0x22, Text: "Linux panic: Oops: bad address", Panic: true, Records: records(otherPart0, otherPart1),
		}}},
		{"without the event, behind a record with a time", records(foreign, crashPart0, crashPart1), []Entry{
			plain(foreign), about(began, 2, "sysrq triggered crash", crashPart0, crashPart1)}},

		{"two of one address, one after the other", records(a0, a1, a2, b0, b1), []Entry{
			about(NoTime, 0x21, textA+restA+"AA", a0, a1, a2), about(NoTime, 0x31, textB+restB, b0, b1)}},
		{"two of one address, with their events", records(aBegins, bBegins, b0, b1, a0, a1, a2), []Entry{
			linux(0x20, began, 0x20, textA+restA+"AA", aBegins, a0, a1, a2), linux(0x30, began+1, 0x20, textB+restB, bBegins, b0, b1)}},
		{"two of one address, mixed, and each has another number next", records(a0, a1, b0, a2, b1), []Entry{
			about(NoTime, 0x21, textA+restA+"AA", a0, a1, a2), about(NoTime, 0x31, textB+restB, b0, b1)}},
		{"two of one address, mixed", records(a0, b0, a1, b1, a2), []Entry{
			about(NoTime, 0x21, textA+" ...", a0), about(NoTime, 0x31, textB+" ...", b0),
			loose(NoTime, "2", restA, a1), loose(NoTime, "2", restB, b1), loose(NoTime, "3", "AA", a2)}},
		{"a third while it is not clear whose the parts are", records(a0, b0, a1, c0, b1, a2), []Entry{
			about(NoTime, 0x21, textA+" ...", a0), about(NoTime, 0x31, textB+" ...", b0), loose(NoTime, "2", restA, a1),
			about(NoTime, 0x41, "CC", c0), loose(NoTime, "2", restB, b1), loose(NoTime, "3", "AA", a2)}},
		{"one more behind two that were mixed", records(a0, b0, a1, b1, a2, crashPart0, crashPart1), []Entry{
			about(NoTime, 0x21, textA+" ...", a0), about(NoTime, 0x31, textB+" ...", b0),
			loose(NoTime, "2", restA, a1), loose(NoTime, "2", restB, b1), loose(NoTime, "3", "AA", a2),
			about(NoTime, 2, "sysrq triggered crash", crashPart0, crashPart1)}},
		{"one more long behind what has no end", records(aBegins, a0, b0, a1, bOn, later, crashPart0, crashPart1), []Entry{
			linux(0x20, began, 0x20, textA+" ...", aBegins, a0), about(began, 0x31, textB+" ...", b0),
			loose(began, "2", restA, a1), loose(began, "2", "bbbbbbbbbbb", bOn), plain(later),
			about(began+60, 2, "sysrq triggered crash", crashPart0, crashPart1)}},
		{"two of one address, mixed, and the beginning of one is lost", records(a0, b1, a1, a2), []Entry{
			about(NoTime, 0x21, textA+" ...", a0), loose(NoTime, "2", restB, b1), loose(NoTime, "2", restA, a1), loose(NoTime, "3", "AA", a2)}},
		{"two of one address, and the log begins in one", records(bOn, a0, a1, a2), []Entry{
			loose(NoTime, "2", "bbbbbbbbbbb", bOn), about(NoTime, 0x21, textA+" ...", a0), loose(NoTime, "2", restA, a1), loose(NoTime, "3", "AA", a2)}},
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
			for _, text := range []string{e.Text, e.Generator.String(), e.When()} {
				if text == "" || text != printable(text) {
					t.Errorf("%q", text)
				}
			}
		}
		if count != len(all) {
			t.Errorf("entries of %d records, of %d", count, len(all))
		}
	})
}

// A text never mixes two machines, in any order of their parts.
func TestPanicsOfTwoMachinesAreNeverMixed(t *testing.T) {
	part := func(machine byte, number int, of int) Record {
		r := Record{2: 0xF0, 3: 0x20, 4: byte(number)}
		for i := panicStringStart; i < RecordLength; i++ {
			r[i] = machine
		}
		if number == of-1 {
			r[RecordLength-1] = 0
		}
		return r
	}
	for lengthA := 1; lengthA <= 5; lengthA++ {
		for lengthB := 1; lengthB <= 5; lengthB++ {
			for order := range 1 << (lengthA + lengthB) {
				if bits.OnesCount(uint(order)) != lengthB {
					continue
				}
				var log []Record
				var a, b int
				for i := range lengthA + lengthB {
					if order>>i&1 == 0 {
						log = append(log, part('a', a, lengthA))
						a++
					} else {
						log = append(log, part('b', b, lengthB))
						b++
					}
				}
				for _, e := range Entries(log) {
					_, text, _ := strings.Cut(e.Text, ": ")
					if strings.Contains(text, "a") && strings.Contains(text, "b") {
						t.Fatalf("order %b of %d and %d parts: %q", order, lengthA, lengthB, e.Text)
					}
				}
			}
		}
	}
}

func TestTextsThatMayGoOnAreLimited(t *testing.T) {
	event := octets(crashEvent)
	full := octets("0000 F0 20 00 737973 7A7A7A7A7A7A7A7A")
	second := octets("0000 F0 20 01 7878 000000000000000000")
	var log []Record
	for range maxTexts + 1 {
		log = append(log, Record(event))
	}
	for range maxTexts + 1 {
		log = append(log, Record(full))
	}
	entries := Entries(append(log, Record(second)))
	want := map[string]int{
		"Linux panic: sys ...":         1,            // the first event is forgotten
		"Linux panic: syszzzzzzzz ...": maxTexts + 1, // the first text is, too, and the others await part 2
		"Linux panic, part 2: xx":      1,
	}
	got := map[string]int{}
	for _, e := range entries {
		got[e.Text]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhen(t *testing.T) {
	for want, e := range map[string]Entry{
		"2000-01-01 00:00:00Z":  {Time: 0x386D4380},
		"~2000-01-01 00:00:00Z": {Time: 0x386D4380, About: true},
		"no time":               {Time: NoTime},
	} {
		if got := e.When(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
