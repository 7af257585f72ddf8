package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// output is where results go. After a write has failed it writes no more; the
// program asks for the error once, at its end.
type output struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// closed reports whether the reader of a pipe has left, which is its right.
func (o *output) closed() bool { return errors.Is(o.err, syscall.EPIPE) }

// json writes v as JSON on a line of its own.
func (o *output) json(v any) error {
	encoder := json.NewEncoder(o)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// cell is a piece of a table or of a list of fields.
type cell struct {
	text string
	sgr  string // its colour
}

// table lines up columns, two spaces apart. The first row is the heading. The
// last column is as wide as it is.
func table(c colour, rows [][]cell) string {
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

// heading is the first row of a table.
func heading(c ...string) []cell {
	row := make([]cell, len(c))
	for i, text := range c {
		row[i] = cell{text, bold}
	}
	return row
}

// field is a row of a table with a name and a value.
func field(name, value string) []cell { return []cell{{text: name}, {text: value}} }

// bytesPerLine is how many bytes of data fit a line of 80 columns beside the
// name of a field.
const bytesPerLine = 16

// dataFields are data as one field, of more than one line if need be.
func dataFields(name string, data []byte) [][]cell {
	if len(data) == 0 {
		return [][]cell{field(name, "none")}
	}
	var rows [][]cell
	for len(data) > 0 {
		n := min(len(data), bytesPerLine)
		rows = append(rows, field(name, hexBytes(data[:n])))
		name, data = "", data[n:]
	}
	return rows
}

// hexBytes is data as people read it: "20 81 01".
func hexBytes(data []byte) string { return fmt.Sprintf("% x", data) }
