package sel

import (
	"bytes"
	"strings"

	"ipmbd/ipmi"
)

// A panic of Linux in the log, by send_panic_events of the kernel's
// drivers/char/ipmi/ipmi_msghandler.c: an event of an operating system that
// stopped, with the first three characters of the message, and with
// panic_op=string records of type F0h, each with a part of it.
const (
	panicSender      Sender = 0x41 // system software
	panicSensorType         = 0x20 // OS stop
	panicRun                = 0xA1 // run-time stop, data 2 and 3 are OEM's
	panicStringType  Type   = 0xF0
	panicStringStart        = 5 // behind ID, type, sender and part number
)

// Entry is what one record of a log says or, of a panic of Linux, several ones.
type Entry struct {
	ID      uint16 // of the first record
	Time    Time   // NoTime where the records have none
	Sender  Sender
	Text    string // printable ASCII
	Panic   bool   // the text is that of a panic of Linux
	Records []Record
}

// panicName begins the text of a panic.
const panicName = "Linux panic: "

// Entries are the entries of a log, in the order of their first records. The
// records of panics are put together; those of several senders may be mixed, and
// parts may be missing: " ... " stands for them.
//
// An event begins a panic, and the next string that begins at part 0 belongs to
// it: the event has no sender of its own, only that of system software. A record
// of the strings' type that goes on with nothing and is no text is an OEM's.
func Entries(records []Record) []Entry {
	var all []*panicText
	open := make(map[ipmi.Address]*panicText) // strings that may go on
	var event *panicText                      // one without a string yet
	for _, r := range records {
		switch {
		case r.isPanicEvent():
			event = newPanic(r)
			event.start = r.panicStart()
			all = append(all, event)
		case r.Type() == panicStringType:
			sender, number := ipmi.Address(r[3]), int(r[4])
			p := open[sender]
			if p != nil && number >= p.next {
				p.add(number, r)
				continue
			}
			if p = event; p != nil && (number > 0 || strings.HasPrefix(r.panicPart(), trimEnd(p.start))) {
				event = nil
			} else if p = newPanic(r); isText(r.panicPart()) {
				p.Records = nil // add brings it
				all = append(all, p)
			} else {
				all = append(all, newEntry(r))
				continue
			}
			p.Sender = Sender(sender)
			open[sender] = p
			p.add(number, r)
		default:
			all = append(all, newEntry(r))
		}
	}
	entries := make([]Entry, len(all))
	for i, p := range all {
		entries[i] = p.entry()
	}
	return entries
}

// isPanicEvent: the revision of the message may be that of IPMI 1.0.
func (r Record) isPanicEvent() bool {
	return r.Type() == SystemEvent && ipmi.Address(r[7]) == panicSender.Address() && r[10] == panicSensorType &&
		r[12] == sensorSpecificType && r[13] == panicRun
}

// panicStart is what an event has of the message: the sensor number is its first
// character, event data 2 and 3 the next ones.
func (r Record) panicStart() string { return string([]byte{r[11], r[14], r[15]}) }

func (r Record) panicPart() string { return string(r[panicStringStart:]) }

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

// panicText is an entry in the course of being read, of a panic or not.
type panicText struct {
	Entry
	start string // by the event
	parts []byte
	begun bool
	next  int // part
}

func newEntry(r Record) *panicText {
	return &panicText{Entry: Entry{ID: r.ID(), Time: r.Time(), Sender: r.Sender(), Text: r.String(), Records: []Record{r}}}
}

func newPanic(r Record) *panicText {
	p := newEntry(r)
	p.Panic = true
	return p
}

const missing = " ... "

func (p *panicText) add(number int, r Record) {
	if number > p.next {
		p.parts = append(p.parts, missing...)
	}
	p.parts = append(p.parts, trimEnd(r.panicPart())...)
	p.Records = append(p.Records, r)
	p.next, p.begun = number+1, true
}

func (p *panicText) entry() Entry {
	e := p.Entry
	if !e.Panic {
		return e
	}
	text := p.parts
	if !p.begun {
		text = []byte(trimEnd(p.start) + missing)
	}
	e.Text = panicName + printable(bytes.TrimSpace(text))
	return e
}

// printable is a text without what a terminal would obey.
func printable(text []byte) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, string(text))
}
