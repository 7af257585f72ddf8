package bmc

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"ipmbd/ipmi"
)

// A panic of Linux in the log, by send_panic_events of the kernel's
// drivers/char/ipmi/ipmi_msghandler.c: an event of an operating system that
// stopped, with the first three characters of the message, and with
// panic_op=string records of type F0h, each with a part of it.
const (
	systemEvent      = 0x02 // as a record's type
	panicGenerator   = 0x41 // system software
	panicSensorType  = 0x20 // OS stop
	panicEventType   = 0x6F // sensor-specific
	panicRun         = 0xA1 // run-time stop, data 2 and 3 are OEM's
	panicStringType  = 0xF0
	panicStringStart = 5 // behind ID, type, sender and part number
)

// Entry is what one or more records of a log say.
type Entry struct {
	ID     uint16    // of the first record
	Time   time.Time // zero where the records have none
	Sender ipmi.Address
	Text   string
}

// Panics puts the panics of Linux in a log together, in the order of their first
// records. Those of several senders may be mixed, and parts may be missing: " ... "
// stands for them. A record that is no part of a panic is passed over.
//
// An event begins a panic, and the next string that begins at part 0 belongs to
// it: the event has no sender of its own, only that of system software.
func Panics(records []Record) []Entry {
	var all []*panicText
	open := make(map[ipmi.Address]*panicText) // strings that may go on
	var event *panicText                      // one without a string yet
	for _, r := range records {
		switch {
		case r.isPanicEvent():
			event = &panicText{Entry: Entry{ID: r.id(), Time: fromSeconds(binary.LittleEndian.Uint32(r[offsetOfTime:])), Sender: panicGenerator}, start: r.panicStart()}
			all = append(all, event)
		case r[2] == panicStringType:
			sender, number := ipmi.Address(r[3]), int(r[4])
			p := open[sender]
			if p == nil || number < p.next {
				if p = event; p == nil || !strings.HasPrefix(r.panicPart(), trimEnd(p.start)) && number == 0 {
					p = &panicText{Entry: Entry{ID: r.id()}}
					all = append(all, p)
				} else {
					event = nil
				}
				p.Sender = sender
				open[sender] = p
			}
			p.add(number, r.panicPart())
		}
	}
	entries := make([]Entry, len(all))
	for i, p := range all {
		entries[i] = p.entry()
	}
	return entries
}

func (r Record) isPanicEvent() bool {
	return r[2] == systemEvent && r[7] == panicGenerator && r[10] == panicSensorType && r[12] == panicEventType && r[13] == panicRun
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

// panicText is a panic in the course of being read.
type panicText struct {
	Entry
	start string // by the event
	parts []byte
	begun bool
	next  int // part
}

const missing = " ... "

func (p *panicText) add(number int, part string) {
	if number > p.next {
		p.parts = append(p.parts, missing...)
	}
	p.parts = append(p.parts, trimEnd(part)...)
	p.next, p.begun = number+1, true
}

func (p *panicText) entry() Entry {
	e := p.Entry
	text := p.parts
	if !p.begun {
		text = []byte(trimEnd(p.start) + missing)
	}
	e.Text = printable(bytes.TrimSpace(text))
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
