package manual

import (
	"fmt"
	"strings"
)

// Page is a manual page that grows from its top.
type Page struct {
	b      strings.Builder
	headed bool // the last line is a heading, which begins a paragraph itself
}

// New is a page with its name and what it is about in a line.
func New(name string, section int, about string) *Page {
	p := &Page{}
	p.line(`.\" Made by a test; IPMBD_UPDATE=1 go test ./... makes it anew.`)
	p.line(fmt.Sprintf(`.TH %s %d "" ipmbd`, strings.ToUpper(name), section))
	p.Section("Name")
	p.line(escape(name) + ` \- ` + escape(about))
	return p
}

// String is the page as it is stored.
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

// Synopsis is a line that shows how a program is called: its own name, and the
// words behind it.
func (p *Page) Synopsis(name, words string) {
	p.begin()
	p.text(`\fB` + escape(name) + `\fR ` + escape(words))
}

// Paragraph is running text, in which `code` is bold.
func (p *Page) Paragraph(text string) {
	p.begin()
	p.text(inline(text))
}

// Item is an entry of a list: what it is about, in bold, and the text.
func (p *Page) Item(tag, text string) {
	p.line(".TP")
	p.text(`\fB` + escape(tag) + `\fR`)
	if text = inline(text); text == "" {
		text = `\&` // an item needs a text
	}
	p.text(text)
}

// Literal is lines as they are.
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

// Prose is help as a terminal shows it: paragraphs, between which there are empty
// lines, and lines with an indent, which stay as they are.
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

// unindented are lines without the two spaces of an indent.
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

// text is lines none of which is taken for a macro.
func (p *Page) text(s string) {
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") || line == "" {
			line = `\&` + line
		}
		p.line(line)
	}
}

// escape makes of text what roff shows as that text: a hyphen that is no minus
// sign would not be found again when it is copied.
var escape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "→", `\(->`).Replace
