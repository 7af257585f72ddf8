package main

import (
	"fmt"
	"io"
)

// progress is a line on a terminal that says how far a command is. Without a
// terminal it is nothing.
type progress struct{ w io.Writer }

// newProgress makes a line on standard error.
func (a *app) newProgress() progress {
	if !a.isTerminal(a.stderr) {
		return progress{io.Discard}
	}
	return progress{a.stderr}
}

// eraseLine goes to the begin of the line and clears it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

func (p progress) show(format string, args ...any) { fmt.Fprintf(p.w, eraseLine+format, args...) }

func (p progress) clear() { fmt.Fprint(p.w, eraseLine) }
