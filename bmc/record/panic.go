package record

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ipmbd/ipmi"
)

// Entry is one record of a log in words or, of a panic of Linux, several records.
type Entry struct {
	ID        uint16 // of the first record
	Time      Time   // NoTime if it is unknown
	About     bool   // Time is the time of the nearest record before that has one
	Generator Generator
	Text      string // printable ASCII
	Panic     bool   // the text is the message of a panic of Linux, or a part of it
	Records   []Record
}

// When is the time in words, behind "~" if it is About.
func (e Entry) When() string {
	if e.About {
		return "~" + e.Time.String()
	}
	return e.Time.String()
}

// Entries returns the entries of a log, in the order of their first records. It joins records of a
// panic only if they certainly belong together. A part that does not follow another one, or that
// may belong to several panics, is an entry of its own: "Linux panic, part 2: ". "..." stands for
// missing parts of a text.
//
// A record of a text identifies the machine only by the address of its controller's interface,
// which is 20h for nearly all machines. So only the numbers of the parts tell several machines
// apart. A panic without an event has the time of the nearest record before it.
func Entries(records []Record) []Entry {
	g := gatherer{panicked: NoTime}
	for _, r := range records {
		g.addRecord(r)
	}
	// A part that was taken out of a text has its place in the log.
	slices.SortFunc(g.entries, func(a, b *entry) int { return cmp.Compare(a.places[0], b.places[0]) })
	entries := make([]Entry, len(g.entries))
	for i, e := range g.entries {
		entries[i] = g.export(e)
	}
	return entries
}

// printable replaces bytes that are not printable ASCII.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, text)
}

// The records of a panic (send_panic_events of drivers/char/ipmi/ipmi_msghandler.c in Linux): an
// event of an operating system that stopped, with the first three characters of the message; and,
// with panic_op=string, records of type F0h with a part of the message each. Zeros fill the last
// part, if it is not full.
const (
	panicGenerator   Generator = 0x41 // system software
	panicSensorType            = 0x20 // OS stop
	panicRun                   = 0xA1 // run-time stop, data 2 and 3 are OEM's
	panicStringType  Type      = 0xF0
	panicStringStart           = 5 // behind ID, type, generator and part number
)

// isPanicEvent accepts all revisions of event messages.
func (r Record) isPanicEvent() bool {
	return r.Type() == SystemEvent && Generator(r[7]) == panicGenerator && r[10] == panicSensorType &&
		r[12] == sensorSpecificType && r[13] == panicRun
}

// panicStart is the start of the message in an event: sensor number, event data 2 and 3.
func (r Record) panicStart() string { return trimEnd(string([]byte{r[11], r[14], r[15]})) }

func (r Record) panicPart() string { return string(r[panicStringStart:]) }

// endsPanic reports whether a part is certainly the last one.
func (r Record) endsPanic() bool { return strings.Contains(r.panicPart(), "\x00") }

// trimEnd is a text up to the zero that ends it.
func trimEnd(s string) string {
	text, _, _ := strings.Cut(s, "\x00")
	return text
}

// isText reports whether a part is printable and has only zeros behind its end.
func isText(part string) bool {
	text := trimEnd(part)
	return text != "" && text == printable(text) && strings.Trim(part[len(text):], "\x00") == ""
}

const (
	// panicTime is longer than the records of a panic take to come, in seconds.
	panicTime = 60
	// maxTexts is how many texts of an address may be in progress at a time, and how many events
	// may wait for their texts. It bounds the cost of a log of parts only.
	maxTexts = 64
)

// gatherer finds the records that belong together in a log.
type gatherer struct {
	records []Record
	times   []Time // of each record: its own, or the time of the nearest record before
	entries []*entry

	// Panics that may be incomplete.
	panicked Time     // the time of their last record
	events   []*entry // without a text yet
	flows    map[ipmi.Address]*flow
}

// entry is an Entry that is being built.
type entry struct {
	kind      entryKind
	places    []int     // of its records in the log
	generator Generator // of a text or a loose part

	start string // of the text, as the event has it
	parts []int  // places of the records of the text, from part 0 on
	ended bool   // the last part ends the text
	cut   bool   // the text has more parts in unknown places

	number int // of a loose part
}

type entryKind uint8

const (
	plain     entryKind = iota
	panicText           // an event, a text or both
	loosePart           // a part of an unknown text
)

// flow is the texts from one address, of any number of machines.
type flow struct {
	texts []*entry // whose parts are known so far
	// otherTexts is how many other texts are in progress. While there are any, a part may be
	// theirs.
	otherTexts int
}

func (g *gatherer) addRecord(r Record) {
	now := NoTime
	if len(g.times) > 0 {
		now = g.times[len(g.times)-1]
	}
	if at := r.Time(); at != NoTime {
		now = at
		if g.panicked != NoTime && int64(now)-int64(g.panicked) >= panicTime {
			g.events, g.flows = nil, nil
		}
	}
	g.records, g.times = append(g.records, r), append(g.times, now)
	switch {
	case r.isPanicEvent():
		e := g.addEntry(panicText)
		e.start = r.panicStart()
		g.events = append(g.events, e)
		g.events = g.events[max(0, len(g.events)-maxTexts):]
		g.panicked = now
	case r.Type() == panicStringType:
		g.addPart(r)
	default:
		g.addEntry(plain)
	}
}

// addEntry makes an entry of the newest record.
func (g *gatherer) addEntry(kind entryKind) *entry {
	e := &entry{kind: kind, places: []int{len(g.records) - 1}}
	g.entries = append(g.entries, e)
	return e
}

// addPart adds the newest record, a part of a text. A record whose part is not text, while no text
// is in progress, is an OEM's.
func (g *gatherer) addPart(r Record) {
	from, number, place := ipmi.Address(r[3]), int(r[4]), len(g.records)-1
	f := g.flows[from]
	if f == nil {
		f = new(flow)
	}
	awaiting := f.awaiting(number)
	switch {
	case !isText(r.panicPart()) && (number == 0 || !f.goesOn()):
		g.addEntry(plain)
		return
	case number == 0:
		f.addText(g.beginText(r))
	case len(awaiting) == 1 && f.otherTexts == 0:
		e := awaiting[0]
		e.places, e.parts, e.ended = append(e.places, place), append(e.parts, place), r.endsPanic()
	default:
		g.addLoosePart(place)
		g.loosen(f, number, awaiting)
		if r.endsPanic() {
			f.otherTexts--
		}
	}
	if g.flows == nil {
		g.flows = make(map[ipmi.Address]*flow)
	}
	g.flows[from] = f
	g.panicked = g.times[place]
}

func (f *flow) addText(e *entry) {
	if f.texts = append(f.texts, e); len(f.texts) <= maxTexts {
		return
	}
	if oldest := f.texts[0]; !oldest.ended {
		oldest.cut = true
		f.otherTexts++
	}
	f.texts = slices.Delete(f.texts, 0, 1)
}

// goesOn reports whether a text may have further parts.
func (f *flow) goesOn() bool {
	return f.otherTexts > 0 || slices.ContainsFunc(f.texts, func(e *entry) bool { return !e.ended })
}

// awaiting are the texts whose next part has a number.
func (f *flow) awaiting(number int) (found []*entry) {
	for _, e := range f.texts {
		if !e.ended && len(e.parts) == number {
			found = append(found, e)
		}
	}
	return found
}

// beginText returns the entry of the newest record, a part 0: the entry of the first event that
// has no text and the same start, or a new entry.
func (g *gatherer) beginText(r Record) *entry {
	place := len(g.records) - 1
	var e *entry
	i := slices.IndexFunc(g.events, func(e *entry) bool { return e.start != "" && strings.HasPrefix(r.panicPart(), e.start) })
	if i >= 0 {
		e = g.events[i]
		g.events = slices.Delete(g.events, i, i+1)
		e.places = append(e.places, place)
	} else {
		e = g.addEntry(panicText)
	}
	e.generator, e.parts, e.ended = Generator(r[3]), []int{place}, r.endsPanic()
	return e
}

// addLoosePart makes an entry of a part at a place.
func (g *gatherer) addLoosePart(place int) {
	r := g.records[place]
	g.entries = append(g.entries, &entry{kind: loosePart, places: []int{place}, generator: Generator(r[3]), number: int(r[4])})
}

// loosen cuts the texts that a part may belong to, if there is not exactly one.
func (g *gatherer) loosen(f *flow, number int, awaiting []*entry) {
	if f.otherTexts > 0 || len(awaiting) > 0 {
		f.cut(awaiting)
		f.otherTexts += len(awaiting)
		return
	}
	// The part belongs to a text that goes on, to a text that has taken another text's part for
	// its own, or to an unknown text.
	var behind, ahead []*entry
	for _, e := range f.texts {
		switch {
		case !e.ended && len(e.parts) < number:
			behind = append(behind, e)
		case len(e.parts) > number:
			ahead = append(ahead, e)
		}
	}
	f.otherTexts = len(behind)
	for _, e := range ahead {
		f.otherTexts++ // the text whose part it took
		if !e.ended {
			f.otherTexts++
		}
		for _, place := range e.parts[number:] {
			g.addLoosePart(place)
		}
		e.places = e.places[:len(e.places)-len(e.parts)+number]
		e.parts = e.parts[:number]
	}
	f.cut(behind)
	f.cut(ahead)
	f.otherTexts = max(f.otherTexts, 1)
}

// cut ends texts that may have more parts.
func (f *flow) cut(texts []*entry) {
	for _, e := range texts {
		e.cut = true
	}
	f.texts = slices.DeleteFunc(f.texts, func(e *entry) bool { return e.cut })
}

// export is a finished entry.
func (g *gatherer) export(e *entry) Entry {
	place := e.places[0]
	first := g.records[place]
	exported := Entry{ID: first.ID(), Time: first.Time(), Generator: first.Generator(), Text: first.String()}
	for _, i := range e.places {
		exported.Records = append(exported.Records, g.records[i])
	}
	if e.kind == plain {
		return exported
	}
	exported.Panic, exported.Text = true, g.text(e)
	if e.kind == loosePart || len(e.parts) > 0 {
		exported.Generator = e.generator
	}
	if at := g.times[place]; exported.Time == NoTime && at != NoTime {
		exported.Time, exported.About = at, true
	}
	return exported
}

// text is the text of an entry of a panic.
func (g *gatherer) text(e *entry) string {
	if e.kind == loosePart {
		text := trimEnd(g.records[e.places[0]].panicPart())
		return strings.TrimSpace(fmt.Sprintf("Linux panic, part %d: %s", e.number+1, printable(text)))
	}
	text := e.start
	if len(e.parts) > 0 {
		text = ""
		for _, i := range e.parts {
			text += trimEnd(g.records[i].panicPart())
		}
	}
	text = strings.TrimSpace(text)
	if e.cut || len(e.parts) == 0 {
		text += " ..."
	}
	return "Linux panic: " + strings.TrimSpace(printable(text))
}
