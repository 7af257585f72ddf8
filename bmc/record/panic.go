package record

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"ipmbd/ipmi"
)

// A panic of Linux in the log, by send_panic_events of the kernel's
// drivers/char/ipmi/ipmi_msghandler.c: an event of an operating system that
// stopped, with the first three characters of the message, and with
// panic_op=string records of type F0h, each with a part of it. Zeros fill the last
// part; there are none when it is full.
const (
	panicGenerator   Generator = 0x41 // system software
	panicSensorType            = 0x20 // OS stop
	panicRun                   = 0xA1 // run-time stop, data 2 and 3 are OEM's
	panicStringType  Type      = 0xF0
	panicStringStart           = 5 // behind ID, type, sender and part number
)

// isPanicEvent: the revision of the message may be that of IPMI 1.0.
func (r Record) isPanicEvent() bool {
	return r.Type() == SystemEvent && ipmi.Address(r[7]) == panicGenerator.Address() && r[10] == panicSensorType &&
		r[12] == sensorSpecificType && r[13] == panicRun
}

// panicStart is what an event has of the message: the sensor number is its first
// character, event data 2 and 3 the next ones.
func (r Record) panicStart() string { return trimEnd(string([]byte{r[11], r[14], r[15]})) }

func (r Record) panicPart() string { return string(r[panicStringStart:]) }

// endsPanic reports whether a part is the last one for certain.
func (r Record) endsPanic() bool { return strings.Contains(r.panicPart(), "\x00") }

// trimEnd is a text up to the zero that ends it.
func trimEnd(s string) string {
	text, _, _ := strings.Cut(s, "\x00")
	return text
}

// isText reports whether a part is printable and has nothing behind its end.
func isText(part string) bool {
	text := trimEnd(part)
	return text != "" && text == printable([]byte(text)) && strings.Trim(part[len(text):], "\x00") == ""
}

// gatherer finds what belongs together in a log.
type gatherer struct {
	records []Record
	times   []Time // of each record: its own or that of the nearest one before
	entries []*entry

	// Of the panics that may go on:
	panicked Time     // when the last of their records came
	events   []*entry // without a text yet
	flows    map[ipmi.Address]*flow
}

// entry is an Entry in the course of being read.
type entry struct {
	kind      entryKind
	places    []int     // of its records in the log
	generator Generator // of a text or a loose part

	start string // of the text, by the event
	parts []int  // of the text: the places of its records, in order from part 0 on
	ended bool   // the last of them ends the text
	cut   bool   // there is more of the text

	number int // of a loose part
}

type entryKind uint8

const (
	plain     entryKind = iota
	panicText           // an event, a text or both
	loosePart           // a part of a text, nobody knows of which
)

// flow is the texts from one address, of any number of machines.
type flow struct {
	texts []*entry // whose parts are known so far
	// strays is how many texts are going on besides. While there are some, what
	// comes may be theirs.
	strays int
}

// panicTime is longer than a machine takes to tell of its panic, in seconds.
const panicTime = 60

func (g *gatherer) take(r Record) {
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
		e := g.add(panicText)
		e.start = r.panicStart()
		g.events = append(g.events, e)
		g.events = g.events[max(0, len(g.events)-maxTexts):]
		g.panicked = now
	case r.Type() == panicStringType:
		g.part(r)
	default:
		g.add(plain)
	}
}

// add makes an entry of the newest record.
func (g *gatherer) add(kind entryKind) *entry {
	e := &entry{kind: kind, places: []int{len(g.records) - 1}}
	g.entries = append(g.entries, e)
	return e
}

// part takes a part of a text. What is no text, where none goes on, is an OEM's.
func (g *gatherer) part(r Record) {
	from, number := ipmi.Address(r[3]), int(r[4])
	f := g.flows[from]
	if f == nil {
		f = new(flow)
	}
	awaiting := f.awaiting(number)
	switch {
	case !isText(r.panicPart()) && (number == 0 || !f.goesOn()):
		g.add(plain)
		return
	case number == 0:
		f.add(g.begin(r))
	case len(awaiting) == 1 && f.strays == 0:
		awaiting[0].goOn(len(g.records)-1, r)
	default:
		g.addLoose(len(g.records) - 1)
		g.loosen(f, number, awaiting)
		if r.endsPanic() {
			f.strays--
		}
	}
	if g.flows == nil {
		g.flows = make(map[ipmi.Address]*flow)
	}
	g.flows[from] = f
	g.panicked = g.times[len(g.times)-1]
}

// maxTexts is how many texts of an address may go on at a time, and how many events
// may wait for theirs. It bounds what a log of nothing else costs.
const maxTexts = 64

func (f *flow) add(e *entry) {
	if f.texts = append(f.texts, e); len(f.texts) <= maxTexts {
		return
	}
	if oldest := f.texts[0]; !oldest.ended {
		oldest.cut = true
		f.strays++
	}
	f.texts = slices.Delete(f.texts, 0, 1)
}

// goesOn reports whether a text may go on.
func (f *flow) goesOn() bool {
	return f.strays > 0 || slices.ContainsFunc(f.texts, func(e *entry) bool { return !e.ended })
}

// awaiting are the texts whose next part has a number.
func (f *flow) awaiting(number int) []*entry {
	var found []*entry
	for _, e := range f.texts {
		if !e.ended && len(e.parts) == number {
			found = append(found, e)
		}
	}
	return found
}

// begin is the entry of the newest record, a part 0: the first event that has no
// text and begins as it does, or a new one.
func (g *gatherer) begin(r Record) *entry {
	var e *entry
	i := slices.IndexFunc(g.events, func(e *entry) bool { return e.start != "" && strings.HasPrefix(r.panicPart(), e.start) })
	if i >= 0 {
		e = g.events[i]
		g.events = slices.Delete(g.events, i, i+1)
		e.places = append(e.places, len(g.records)-1)
	} else {
		e = g.add(panicText)
	}
	e.generator = Generator(r[3])
	e.parts = []int{len(g.records) - 1}
	e.ended = r.endsPanic()
	return e
}

// goOn adds the next part, which is at a place.
func (e *entry) goOn(place int, r Record) {
	e.places, e.parts = append(e.places, place), append(e.parts, place)
	e.ended = r.endsPanic()
}

// addLoose makes an entry of a part at a place.
func (g *gatherer) addLoose(place int) {
	r := g.records[place]
	g.entries = append(g.entries, &entry{kind: loosePart, places: []int{place}, generator: Generator(r[3]), number: int(r[4])})
}

// loosen lets go of the texts that a part may belong to, of which there is not
// exactly one.
func (g *gatherer) loosen(f *flow, number int, awaiting []*entry) {
	if f.strays > 0 || len(awaiting) > 0 {
		f.release(awaiting)
		f.strays += len(awaiting)
		return
	}
	// The part of a text is missing: of one that goes on, of one that has taken
	// another's for its own, or of one that is not known at all.
	var behind, ahead []*entry
	for _, e := range f.texts {
		switch {
		case !e.ended && len(e.parts) < number:
			behind = append(behind, e)
		case len(e.parts) > number:
			ahead = append(ahead, e)
		}
	}
	f.strays = len(behind)
	for _, e := range ahead {
		f.strays++ // the one whose part it took
		if !e.ended {
			f.strays++
		}
		for _, place := range e.parts[number:] {
			g.addLoose(place)
		}
		e.places = e.places[:len(e.places)-len(e.parts)+number]
		e.parts = e.parts[:number]
	}
	f.release(behind)
	f.release(ahead)
	f.strays = max(f.strays, 1)
}

// release marks texts of which there is more, nobody knows where.
func (f *flow) release(texts []*entry) {
	for _, e := range texts {
		e.cut = true
	}
	f.texts = slices.DeleteFunc(f.texts, func(e *entry) bool { return e.cut })
}

// missing stands for parts that are not shown.
const missing = " ..."

// show is an entry as others see it.
func (g *gatherer) show(e *entry) Entry {
	place := e.places[0]
	first := g.records[place]
	shown := Entry{ID: first.ID(), Time: first.Time(), Generator: first.Generator(), Text: first.String()}
	for _, i := range e.places {
		shown.Records = append(shown.Records, g.records[i])
	}
	if e.kind == plain {
		return shown
	}
	shown.Panic, shown.Text = true, g.text(e)
	if e.kind == loosePart || len(e.parts) > 0 {
		shown.Generator = e.generator
	}
	if at := g.times[place]; shown.Time == NoTime && at != NoTime {
		shown.Time, shown.About = at, true
	}
	return shown
}

// text is what an entry of a panic says.
func (g *gatherer) text(e *entry) string {
	if e.kind == loosePart {
		text := trimEnd(g.records[e.places[0]].panicPart())
		return strings.TrimSpace(fmt.Sprintf("Linux panic, part %d: %s", e.number+1, printable([]byte(text))))
	}
	text := []byte(e.start)
	if len(e.parts) > 0 {
		text = nil
		for _, i := range e.parts {
			text = append(text, trimEnd(g.records[i].panicPart())...)
		}
	}
	text = bytes.TrimSpace(text)
	if e.cut || len(e.parts) == 0 {
		text = append(text, missing...)
	}
	return "Linux panic: " + strings.TrimSpace(printable(text))
}
