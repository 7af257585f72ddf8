package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fault describes a fault at one place of a configuration.
type Fault struct {
	// File, Line and Column are the place, counted from 1 and in characters; they are zero in a
	// configuration that no file holds.
	File         string
	Line, Column int
	// Key is the path to the place, "channels[1].bmc-addr"; empty for a file as a whole.
	Key string
	// Value is the value there, empty if there is none.
	Value string
	// Problem says why the value is wrong.
	Problem string
	// Warning: the daemon can run with it.
	Warning bool
}

// Error is one line: "FILE:LINE:COLUMN: KEY = VALUE: PROBLEM", without unknown parts. A warning
// has "warning: " before KEY.
func (f Fault) Error() string {
	text := ""
	if f.File != "" {
		text = fmt.Sprintf("%s:%d:%d: ", f.File, f.Line, f.Column)
	}
	if f.Warning {
		text += "warning: "
	}
	switch {
	case f.Key != "" && f.Value != "":
		text += f.Key + " = " + f.Value + ": "
	case f.Key != "" || f.Value != "":
		text += f.Key + f.Value + ": "
	}
	return text + f.Problem
}

// hasFault reports whether one of the faults is at key.
func hasFault(faults []Fault, key string) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Key == key })
}

// join is all faults as one error of a line each, in the order of the file; nil for none.
func join(faults []Fault) error {
	sortByPlace(faults)
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// reader turns the nodes of one file into a configuration, and gathers faults and warnings.
type reader struct {
	file     string
	data     []byte
	lenient  bool // for ipmbbridge's file: see Parse
	faults   []Fault
	warnings []Fault
	places   map[string]node // of each key that was read
}

// fault notes that the value n of key is wrong.
func (r *reader) fault(n node, key, problem string) {
	r.faults = append(r.faults, r.locate(n, key, problem))
}

func (r *reader) warn(n node, key, problem string) {
	r.warnings = append(r.warnings, r.locate(n, key, problem))
}

// doubt is warn for a lenient reader, else fault.
func (r *reader) doubt(n node, key, problem string) {
	if r.lenient {
		r.warn(n, key, problem)
	} else {
		r.fault(n, key, problem)
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
	return Fault{File: r.file, Line: bytes.Count(before, []byte{'\n'}) + 1, Column: utf8.RuneCount(line) + 1}
}

// excerpt is n as the file has it, empty for a list or an object.
func (r *reader) excerpt(n node) string {
	const most = 60
	text := []rune(string(r.data[n.start:n.end]))
	switch {
	case n.kind == kindObject || n.kind == kindArray:
		return ""
	case len(text) > most:
		return string(text[:most]) + "…"
	}
	return string(text)
}

// judge adds faults, with their places.
func (r *reader) judge(faults []Fault) { r.faults = append(r.faults, r.complete(faults)...) }

// complete gives faults their places. It leaves out a fault that follows from an earlier one: a
// fault at the same key, at the object that holds the key, or at a key in the object.
func (r *reader) complete(faults []Fault) []Fault {
	var completed []Fault
	for _, f := range faults {
		follows := func(of Fault) bool {
			return of.Key == f.Key || of.Key == parent(f.Key) || strings.HasPrefix(of.Key, f.Key+".")
		}
		if slices.ContainsFunc(r.faults, follows) {
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

// below returns the key of a value in the object at key, which is empty for the file itself.
func below(key, member string) string { return strings.TrimPrefix(key+"."+member, ".") }

// item is the key of an element of a list.
func item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
