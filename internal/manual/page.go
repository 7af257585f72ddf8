// Package manual makes manual pages, in the macros of man(7), from the help of the programs and
// from documents. Tests use it: each makes a page and compares it with the stored page, which is
// installed, so that no page is out of date.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Page is a manual page. Its methods append to it.
type Page struct {
	b      strings.Builder
	headed bool // the last line is a heading, which begins a paragraph itself
}

// New makes a page with its name and a one-line description.
func New(name string, section int, about string) *Page {
	p := &Page{}
	p.line(`.\" Made by a test; IPMBD_UPDATE=1 go test ./... makes it anew.`)
	p.line(fmt.Sprintf(`.TH %s %d "" ipmbd`, strings.ToUpper(name), section))
	p.Section("Name")
	p.line(escape(name) + ` \- ` + escape(about))
	return p
}

// String returns the page as it is stored.
func (p *Page) String() string { return p.b.String() }

// Section begins a section.
func (p *Page) Section(title string) {
	p.line(".SH " + escape(strings.ToUpper(title)))
	p.headed = true
}

// Subsection begins a part of a section.
func (p *Page) Subsection(title string) {
	p.line(".SS " + escape(title))
	p.headed = true
}

// Synopsis appends a line that shows how a program is called: its name, and the words after it.
func (p *Page) Synopsis(name, words string) {
	p.begin()
	p.text(`\fB` + escape(name) + `\fR ` + escape(words))
}

// Paragraph appends running text, in which `code` is bold.
func (p *Page) Paragraph(text string) {
	p.begin()
	p.text(inline(text))
}

// Item appends an entry of a list: its subject, in bold, and the text.
func (p *Page) Item(tag, text string) {
	p.line(".TP")
	p.text(`\fB` + escape(tag) + `\fR`)
	if text = inline(text); text == "" {
		text = `\&` // an item needs a text
	}
	p.text(text)
}

// Literal appends lines without filling them.
func (p *Page) Literal(lines []string) {
	p.begin()
	p.line(".RS 4")
	p.line(".nf")
	for _, line := range lines {
		p.text(escape(line))
	}
	p.line(".fi")
	p.line(".RE")
}

// Prose appends help as a terminal shows it: paragraphs with empty lines between them. Lines with
// an indent are not filled.
func (p *Page) Prose(text string) {
	for block := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		if strings.HasPrefix(lines[0], "  ") {
			p.Literal(unindented(lines))
			continue
		}
		p.Paragraph(strings.Join(lines, "\n"))
	}
}

// unindented removes the two spaces of an indent.
func unindented(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimPrefix(line, "  ")
	}
	return out
}

// begin begins a paragraph.
func (p *Page) begin() {
	if !p.headed {
		p.line(".PP")
	}
}

func (p *Page) line(s string) {
	p.b.WriteString(s + "\n")
	p.headed = false
}

// text appends lines, and keeps roff from taking one for a macro.
func (p *Page) text(s string) {
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") || line == "" {
			line = `\&` + line
		}
		p.line(line)
	}
}

// escape returns the input of roff that shows a text. A hyphen becomes a minus sign, so that a
// copied option is one.
var escape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "→", `\(->`).Replace

// Stored fails a test if a file does not hold the text. With IPMBD_UPDATE in the environment, it
// writes the file instead.
func Stored(t testing.TB, path, text string) {
	t.Helper()
	if os.Getenv("IPMBD_UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(stored) != text {
		t.Errorf("%s is out of date: IPMBD_UPDATE=1 go test ./... makes it anew, it would be:\n%s", path, text)
	}
}
