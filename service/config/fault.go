package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fault is what is wrong at one place of a configuration.
type Fault struct {
	// File, Line and Column say where, counted from 1 and in characters; they
	// are zero in a configuration that no file holds.
	File         string
	Line, Column int
	// Key is the way to the place, "channels[1].bmc-addr"; empty for a file as
	// a whole.
	Key string
	// Value is what stands there, empty when nothing does.
	Value string
	// Problem is what is wrong with it.
	Problem string
}

// Error is one line: "FILE:LINE:COLUMN: KEY = VALUE: PROBLEM", without what
// is not known.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		b.WriteString(": ")
	}
	switch {
	case f.Key != "" && f.Value != "":
		b.WriteString(f.Key + " = " + f.Value + ": ")
	case f.Key != "" || f.Value != "":
		b.WriteString(f.Key + f.Value + ": ")
	}
	return b.String() + f.Problem
}

// Warning is a fault that the daemon can live with.
type Warning Fault

// String is as [Fault.Error].
func (w Warning) String() string { return Fault(w).Error() }

// hasFault reports whether one of the faults is at key.
func hasFault(faults []Fault, key string) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Key == key })
}

// hasFaultIn reports whether one of the faults is in the object at key.
func hasFaultIn(faults []Fault, key string) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return strings.HasPrefix(f.Key, key+".") })
}

// join is all faults as one error of a line each, nil for none.
func join(faults []Fault) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// reader turns the nodes of one file into a configuration and gathers what is
// wrong on the way.
type reader struct {
	file string
	data []byte
	// lenient is for ipmbbridge's file: see Parse.
	lenient  bool
	faults   []Fault
	warnings []Fault
	// places is where each key that was read stands.
	places map[string]node
}

// fault notes that the value n of key is wrong.
func (r *reader) fault(n node, key, problem string) {
	r.faults = append(r.faults, r.locate(n, key, problem))
}

// doubt notes what a lenient reader lives with.
func (r *reader) doubt(f Fault) {
	if r.lenient {
		r.warnings = append(r.warnings, f)
	} else {
		r.faults = append(r.faults, f)
	}
}

// want reports whether n is of the kind; if not, that is a fault.
func (r *reader) want(n node, key string, kind nodeKind) bool {
	if n.kind != kind {
		r.fault(n, key, "must be "+string(kind))
	}
	return n.kind == kind
}

// locate makes a fault of a problem with n.
func (r *reader) locate(n node, key, problem string) Fault {
	f := r.at(n.start)
	f.Key, f.Value, f.Problem = key, r.excerpt(n), problem
	return f
}

// at is a fault without key, value and problem.
func (r *reader) at(offset int) Fault {
	before := r.data[:min(offset, len(r.data))]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return Fault{
		File:   r.file,
		Line:   bytes.Count(before, []byte{'\n'}) + 1,
		Column: utf8.RuneCount(line) + 1,
	}
}

// excerpt is what n says, as the file has it; a list or an object says too
// much.
func (r *reader) excerpt(n node) string {
	if n.kind == kindObject || n.kind == kindArray {
		return ""
	}
	const most = 60
	text := []rune(string(r.data[n.start:n.end]))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// complete gives faults of Validate their places. One whose key, or what holds
// it, or what it holds, has a fault already is a consequence of that and dropped.
func (r *reader) complete(faults []Fault) []Fault {
	var completed []Fault
	for _, f := range faults {
		if hasFault(r.faults, f.Key) || hasFault(r.faults, parent(f.Key)) || hasFaultIn(r.faults, f.Key) {
			continue
		}
		if n, ok := r.places[f.Key]; ok {
			f = r.locate(n, f.Key, f.Problem)
		} else if n, ok := r.places[parent(f.Key)]; ok {
			place := r.at(n.start)
			f.File, f.Line, f.Column = place.File, place.Line, place.Column
		}
		completed = append(completed, f)
	}
	return completed
}

// parent is the key of the object or list that holds key.
func parent(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

// item is the key of an element of a list.
func item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
