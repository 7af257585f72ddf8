package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

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

// setters are the known keys of an object and what they fill.
type setters[C any] map[string]func(r *reader, n node, key string, into *C)

// object reads the members of n. Of a key that stands twice the last counts,
// as in ipmbbridge.
func object[C any](r *reader, n node, key string, known setters[C], into *C) {
	if !r.want(n, key, kindObject) {
		return
	}
	for i, m := range n.members {
		path := strings.TrimPrefix(key+"."+m.key, ".")
		same := func(other jsonMember) bool { return other.key == m.key }
		at := m.value
		at.start = m.start
		if slices.ContainsFunc(n.members[:i], same) {
			r.doubt(r.locate(at, path, "stands twice"))
		}
		set := known[m.key]
		switch {
		case set == nil:
			r.doubt(r.locate(m.value, path, "unknown key"))
		case !slices.ContainsFunc(n.members[i+1:], same):
			r.places[path] = m.value
			set(r, m.value, path, into)
		}
	}
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
