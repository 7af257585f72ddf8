package record

import (
	"cmp"
	"slices"
	"strings"
)

// Entry is what one record of a log says or, of a panic of Linux, several ones.
type Entry struct {
	ID        uint16 // of the first record
	Time      Time   // NoTime where nothing says one
	About     bool   // Time is that of the nearest record before which has one
	Generator Generator
	Text      string // printable ASCII
	Panic     bool   // the text is that of a panic of Linux, or a part of it
	Records   []Record
}

// When is the time in words: "~" stands before what is only about it.
func (e Entry) When() string {
	if e.About {
		return "~" + e.Time.String()
	}
	return e.Time.String()
}

// Entries are the entries of a log, in the order of their first records. The
// records of a panic are put together as far as it is certain that they belong
// together. A part that does not follow, or that may be of one panic as well as of
// another, is an entry of its own: "Linux panic, part 2: ". " ... " stands where
// there is more of a text than is shown.
//
// Nothing in the records of a text tells which machine they are from but the
// address of its controller's interface, 20h for nearly all: only the numbers of
// the parts tell several apart. A panic without an event has the time of the
// nearest record before.
func Entries(records []Record) []Entry {
	g := gatherer{panicked: NoTime}
	for _, r := range records {
		g.take(r)
	}
	// What has been taken out of a text has its place in the log.
	slices.SortFunc(g.entries, func(a, b *entry) int { return cmp.Compare(a.places[0], b.places[0]) })
	entries := make([]Entry, len(g.entries))
	for i, e := range g.entries {
		entries[i] = g.show(e)
	}
	return entries
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
