package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
