package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a configuration file.
const (
	maxConfigSize  = 1 << 20 // bytes
	maxConfigDepth = 8       // arrays and objects within one another
)

// node is a JSON value with its place in the text: package encoding/json forgets places, takes
// keys in any case, and takes the last of equal keys.
type node struct {
	kind       nodeKind
	start, end int      // bytes from the beginning of the file
	text       string   // the content of a string, the digits of a number, "true" or "false"
	members    []member // of an object or a list, in the file's order
}

// string returns the text of a string, empty for other values.
func (n node) string() string {
	if n.kind != kindString {
		return ""
	}
	return n.text
}

// member is an entry of an object or a list.
type member struct {
	key   string // of an object
	start int    // of the key
	value node
}

// nodeKind is the type of a JSON value; error texts use these words.
type nodeKind string

const (
	kindObject  nodeKind = "an object"
	kindArray   nodeKind = "a list"
	kindString  nodeKind = "a string"
	kindNumber  nodeKind = "a number"
	kindBoolean nodeKind = "true or false"
	kindNull    nodeKind = "null"
)

// syntaxError is a fault at a place of a text that is not JSON, or not the JSON of a
// configuration.
type syntaxError struct {
	offset  int
	problem string
}

func (e *syntaxError) Error() string { return e.problem }

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\xEF\xBB\xBF"

// parseJSON reads a whole file.
func parseJSON(data []byte) (node, *syntaxError) {
	switch {
	case len(data) > maxConfigSize:
		return node{}, &syntaxError{0, fmt.Sprintf("is larger than %d bytes", maxConfigSize)}
	case bytes.HasPrefix(data, []byte(byteOrderMark)):
		return node{}, &syntaxError{0, "begins with a byte order mark, which JSON does not have"}
	case len(bytes.TrimSpace(data)) == 0:
		return node{}, &syntaxError{0, "is empty"}
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return node{}, &syntaxError{i, "is not UTF-8"}
		}
		i += size
	}
	// This checks all of the grammar, so that the walk below meets no error but its own.
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		at := &syntaxError{0, err.Error()}
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at.offset = max(int(syntax.Offset)-1, 0) // the last byte that was read
		}
		return node{}, explainSyntax(at, data)
	}
	w := walker{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	w.decoder.UseNumber()
	root := w.value(0)
	return root, w.err
}

var hexNumber = regexp.MustCompile(`\b(0[xX][0-9A-Fa-f]+|[0-9A-F]{1,2}h)\b`)

// explainSyntax says what to write instead of a frequent mistake.
func explainSyntax(err *syntaxError, data []byte) *syntaxError {
	for _, at := range hexNumber.FindAllIndex(data, -1) {
		if at[0] <= err.offset && err.offset < at[1] {
			const problem = "JSON has no hexadecimal numbers: write %q, with the quotes"
			return &syntaxError{at[0], fmt.Sprintf(problem, data[at[0]:at[1]])}
		}
	}
	before, after := bytes.TrimSpace(data[:err.offset]), string(data[err.offset:])
	switch {
	case strings.HasPrefix(after, "//"), strings.HasPrefix(after, "/*"), strings.HasPrefix(after, "#"):
		return &syntaxError{err.offset, "JSON has no comments: take it out, and write it into a file beside this one"}
	case bytes.HasSuffix(before, []byte(",")) && (after[:1] == "]" || after[:1] == "}"):
		return &syntaxError{err.offset, fmt.Sprintf("a comma stands before %q: take it out", after[:1])}
	}
	return err
}

// walker walks a text whose grammar has been checked.
type walker struct {
	data    []byte
	decoder *json.Decoder
	err     *syntaxError // the first one
}

// value returns the next value, which is in depth objects and lists.
func (w *walker) value(depth int) node {
	n := node{start: w.next()}
	if depth > maxConfigDepth {
		w.err = cmp.Or(w.err, &syntaxError{n.start, fmt.Sprintf("nests deeper than %d levels", maxConfigDepth)})
	}
	switch token, _ := w.decoder.Token(); t := token.(type) {
	case json.Delim:
		n.kind = kindArray
		if t == '{' {
			n.kind = kindObject
		}
		for w.err == nil && w.decoder.More() {
			m := member{start: w.next()}
			if t == '{' {
				key, _ := w.decoder.Token()
				m.key = key.(string)
			}
			m.value = w.value(depth + 1)
			n.members = append(n.members, m)
		}
		_, _ = w.decoder.Token() // the other bracket
	case string:
		n.kind, n.text = kindString, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBoolean, strconv.FormatBool(t)
	case nil:
		n.kind = kindNull
	}
	n.end = int(w.decoder.InputOffset())
	return n
}

// next is where the next token begins.
func (w *walker) next() int {
	at := int(w.decoder.InputOffset())
	for at < len(w.data) && strings.IndexByte(" \t\r\n,:", w.data[at]) >= 0 {
		at++
	}
	return at
}
