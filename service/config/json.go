package config

import (
	"bytes"
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

// node is a JSON value that knows where it stands: package encoding/json
// forgets places, takes keys in any case, and the last of equal ones.
type node struct {
	kind       nodeKind
	start, end int          // bytes from the beginning of the file
	text       string       // of a string what it says, of a number its digits, "true" or "false"
	items      []node       // of an array
	members    []jsonMember // of an object, in the file's order
}

// jsonMember is one entry of an object.
type jsonMember struct {
	key   string
	start int // of the key
	value node
}

// nodeKind is the type of a JSON value; the words are those of error texts.
type nodeKind string

const (
	kindObject  nodeKind = "an object"
	kindArray   nodeKind = "a list"
	kindString  nodeKind = "a string"
	kindNumber  nodeKind = "a number"
	kindBoolean nodeKind = "true or false"
	kindNull    nodeKind = "null"
)

// errAt is an error at a place in a file.
type errAt struct {
	offset  int
	problem string
}

func (e *errAt) Error() string { return e.problem }

// parseJSON reads a whole file. Its errors are *errAt.
func parseJSON(data []byte) (node, error) {
	if len(data) > maxConfigSize {
		return node{}, &errAt{0, fmt.Sprintf("is larger than %d bytes", maxConfigSize)}
	}
	if bytes.HasPrefix(data, []byte(byteOrderMark)) {
		return node{}, &errAt{0, "begins with a byte order mark, which JSON does not have"}
	}
	if bad := firstInvalid(data); bad >= 0 {
		return node{}, &errAt{bad, "is not UTF-8"}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return node{}, &errAt{0, "is empty"}
	}
	// This checks all of the grammar, so that the walk below meets no errors
	// but its own.
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return node{}, explainSyntax(syntaxError(err), data)
	}
	p := jsonParser{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	p.decoder.UseNumber()
	return p.value(0)
}

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\xEF\xBB\xBF"

// firstInvalid is where data stops to be UTF-8, -1 when it does not.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// syntaxError gives err its place: the last byte that was read.
func syntaxError(err error) *errAt {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &errAt{max(int(syntax.Offset)-1, 0), syntax.Error()}
	}
	return &errAt{0, err.Error()}
}

var (
	wordBefore = regexp.MustCompile(`[0-9A-Za-z]*$`)
	wordAfter  = regexp.MustCompile(`^[0-9A-Za-z]*`)
	hexNumber  = regexp.MustCompile(`^(0[xX][0-9A-Fa-f]+|[0-9A-F]{1,2}h)$`)
)

// explainSyntax says of a frequent mistake what to write instead.
func explainSyntax(err *errAt, data []byte) *errAt {
	before, after := data[:err.offset], data[err.offset:]
	begun := wordBefore.Find(before)
	word := string(begun) + string(wordAfter.Find(after))
	switch {
	case hexNumber.MatchString(word):
		return &errAt{err.offset - len(begun), fmt.Sprintf("JSON has no hexadecimal numbers: write %q, with the quotes", word)}
	case bytes.HasPrefix(after, []byte("//")), bytes.HasPrefix(after, []byte("/*")), bytes.HasPrefix(after, []byte("#")):
		return &errAt{err.offset, "JSON has no comments: take it out, and write it into a file beside this one"}
	case bytes.ContainsAny(after[:min(len(after), 1)], "]}") && bytes.HasSuffix(bytes.TrimSpace(before), []byte(",")):
		return &errAt{err.offset, fmt.Sprintf("a comma stands before %q: take it out", after[:1])}
	}
	return err
}

// jsonParser walks a text of which the grammar has been checked.
type jsonParser struct {
	data    []byte
	decoder *json.Decoder
}

func (p *jsonParser) value(depth int) (node, error) {
	n := node{start: p.next()}
	if depth > maxConfigDepth {
		return node{}, &errAt{n.start, fmt.Sprintf("nests deeper than %d levels", maxConfigDepth)}
	}
	token, err := p.decoder.Token()
	if err != nil {
		return node{}, syntaxError(err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			n.kind = kindObject
			err = p.object(&n, depth+1)
		} else {
			n.kind = kindArray
			err = p.array(&n, depth+1)
		}
	case string:
		n.kind, n.text = kindString, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBoolean, strconv.FormatBool(t)
	case nil:
		n.kind = kindNull
	}
	n.end = int(p.decoder.InputOffset())
	return n, err
}

func (p *jsonParser) object(n *node, depth int) error {
	for p.decoder.More() {
		start := p.next()
		key, err := p.decoder.Token()
		if err != nil {
			return syntaxError(err)
		}
		value, err := p.value(depth)
		if err != nil {
			return err
		}
		n.members = append(n.members, jsonMember{fmt.Sprint(key), start, value})
	}
	return p.close()
}

func (p *jsonParser) array(n *node, depth int) error {
	for p.decoder.More() {
		item, err := p.value(depth)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	return p.close()
}

// close takes the bracket that ends an object or an array.
func (p *jsonParser) close() error {
	if _, err := p.decoder.Token(); err != nil {
		return syntaxError(err)
	}
	return nil
}

// next is where the next token begins.
func (p *jsonParser) next() int {
	at := int(p.decoder.InputOffset())
	for at < len(p.data) && strings.IndexByte(" \t\r\n,:", p.data[at]) >= 0 {
		at++
	}
	return at
}
