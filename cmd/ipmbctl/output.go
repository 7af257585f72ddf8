package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// output is standard output. After an error it writes nothing more; exitCode reports the error.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// show writes a result: the document with --json, otherwise the text. The documents are the types
// whose names end with JSON.
func (a *app) show(document any, text string) error {
	if !a.json {
		_, err := io.WriteString(a.out, text)
		return err
	}
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document)
}

// showLine writes a line with its time, or a document. It calls only the function that it needs.
func (a *app) showLine(at time.Time, document func() any, text func(colour) string) error {
	if a.json {
		return a.show(document(), "")
	}
	return a.show(nil, fmt.Sprintf("%s  %s\n", a.colour.paint(dim, at.Format("15:04:05.000")), text(a.colour)))
}

// counted is a number of things: "1 bus", "2 buses".
func counted(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// cell is a piece of a table or of a list of fields.
type cell struct {
	text string
	sgr  string // its colour
}

// row makes a row of a table.
func row(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, text := range texts {
		cells[i].text = text
	}
	return cells
}

// heading makes the first row of a table.
func heading(texts ...string) [][]cell {
	cells := row(texts...)
	for i := range cells {
		cells[i].sgr = bold
	}
	return [][]cell{cells}
}

// table aligns columns, two spaces apart. The last column has no width.
func (c colour) table(rows [][]cell) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell.text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(c.paint(cell.sgr, cell.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-len(cell.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// dataRows make one field of data, on several lines if needed.
func dataRows(name string, data []byte) [][]cell {
	const bytesPerLine = 16 // fit 80 columns beside the name
	if len(data) == 0 {
		return [][]cell{row(name, "none")}
	}
	var rows [][]cell
	for chunk := range slices.Chunk(data, bytesPerLine) {
		rows = append(rows, row(name, hexBytes(chunk)))
		name = ""
	}
	return rows
}

// hexBytes formats data for people: "20 81 01".
func hexBytes(data []byte) string { return fmt.Sprintf("% x", data) }

// numbers converts bytes for JSON, which shows a []byte as a string.
func numbers[B ~uint8](data []B) []uint16 {
	list := make([]uint16, len(data))
	for i, b := range data {
		list[i] = uint16(b)
	}
	return list
}

// milliseconds is the unit of durations in JSON.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// colour says whether text is coloured.
type colour bool

// colourFor is true if w is a terminal that shows colours and NO_COLOR is not set (no-color.org).
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

// isTerminal reports whether a reader or a writer is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	controlErr := raw.Control(func(fd uintptr) { _, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	return err == nil && controlErr == nil
}

// showProgress replaces the last line on standard error, if that is a terminal. It begins with the
// sequence that clears the line (ECMA-48, EL).
func (a *app) showProgress(format string, args ...any) {
	if !a.json && a.isTerminal(a.stderr) {
		fmt.Fprintf(a.stderr, "\r\x1b[K"+format, args...)
	}
}
