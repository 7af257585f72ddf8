package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	err = raw.Control(func(fd uintptr) {
		_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		terminal = err == nil
	})
	return err == nil && terminal
}

// colour paints text for a terminal; switched off it changes nothing.
type colour bool

// colourFor is on where w is a terminal that can show colours and nobody has
// asked for none (no-color.org).
func (e environment) colourFor(w io.Writer) colour {
	return colour(e.isTerminal(w) && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb")
}

// SGR parameters (ECMA-48, section 8.3.117).
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (c colour) paint(sgr, text string) string {
	if !bool(c) || sgr == plain || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}
