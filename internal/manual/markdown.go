package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// Markdown appends a text in Markdown: paragraphs, also numbered ones, code in fences, lists, and
// tables, which become lists.
func (p *Page) Markdown(text string) {
	var paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			p.Paragraph(strings.Join(paragraph, "\n"))
		}
		paragraph = nil
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "```"):
			end()
			first := i + 1
			for i++; lines[i] != "```"; i++ {
			}
			p.Literal(lines[first:i])
		case strings.HasPrefix(line, "|"):
			end()
			first := i
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++
			}
			p.table(lines[first : i+1])
		case strings.HasPrefix(line, "- "):
			end()
			item := line[len("- "):]
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
				i++
				item += "\n" + strings.TrimSpace(lines[i])
			}
			p.listed(item)
		case line == "":
			end()
		default:
			if number.MatchString(line) {
				end()
			}
			paragraph = append(paragraph, line)
		}
	}
	end()
}

// listed appends an entry of a list. Code at its beginning, up to a colon, is its subject:
// "`tries`: how often a request is sent".
func (p *Page) listed(item string) {
	tag, text, ok := strings.Cut(item, ": ")
	if !ok || !strings.HasPrefix(item, "`") {
		tag, text = "*", item
	}
	p.Item(strings.ReplaceAll(tag, "`", ""), text)
}

// table appends the rows of a table as a list, below the name of the first column. The text of
// another column that has a name is placed after the rest, with its name.
func (p *Page) table(lines []string) {
	const heads = 2 // the names of the columns, and the rule below
	names := cells(lines[0])
	p.Paragraph("**" + names[0] + "**")
	for _, line := range lines[heads:] {
		row := cells(line)
		var text, named string
		for i, cell := range row[1:] {
			switch name := names[1+i]; {
			case name == "":
				text += cell
			case cell != "":
				named += fmt.Sprintf(" (%s: %s)", name, cell)
			}
		}
		p.Item(strings.ReplaceAll(row[0], "`", ""), strings.TrimSpace(text+named))
	}
}

// cells splits a row.
func cells(line string) []string {
	row := strings.Split(strings.Trim(line, "|"), "|")
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	return row
}

var (
	number = regexp.MustCompile(`^\d+\. `)
	link   = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	strong = regexp.MustCompile(`\*\*([^*]*)\*\*`)
)

// inline makes running text for roff: code and strong text are bold, and only the text of a link
// is kept.
func inline(text string) string {
	text = link.ReplaceAllString(text, "$1")
	text = strong.ReplaceAllString(text, "`$1`")
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		switch {
		case i%2 == 0:
			b.WriteString(escape(part))
		case part != "":
			b.WriteString(`\fB` + escape(part) + `\fR`)
		}
	}
	return b.String()
}

// Document appends a document in Markdown: the text before its first heading of level two ("##
// Changes"), under a given title, and then its sections.
func (p *Page) Document(title, document string) {
	for i, part := range strings.Split(document, "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		if i == 0 {
			heading = title
		}
		p.Section(heading)
		p.Markdown(text)
	}
}
