package manual

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarkdown(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"paragraphs", "one\nline\n\ntwo", ".PP\none\nline\n.PP\ntwo\n"},
		{"code, strength and a link", "a `b-c` **d** [e](#f)", ".PP\na \\fBb\\-c\\fR \\fBd\\fR e\n"},
		{"numbers", "1. one\n2. two\nand on", ".PP\n1. one\n.PP\n2. two\nand on\n"},
		{"code in a fence", "see\n```json\n.a\n\n'b' \\c\n```\nend", ".PP\nsee\n.PP\n.RS 4\n.nf\n\\&.a\n\\&\n\\(aqb\\(aq \\ec\n.fi\n.RE\n.PP\nend\n"},
		{"a table", "| key | default | |\n|---|---|---|\n| `a` | 1 | text |\n| `b` | | |", ".PP\n\\fBkey\\fR\n.TP\n\\fBa\\fR\ntext (default: 1)\n.TP\n\\fBb\\fR\n\\&\n"},
		{"a list", "see:\n\n- `a-b`: one\n  two\n- plain: text\n\nend", ".PP\nsee:\n.TP\n\\fBa\\-b\\fR\none\ntwo\n.TP\n\\fB*\\fR\nplain: text\n.PP\nend\n"},
		{"a line like a macro", ".SH none", ".PP\n\\&.SH none\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var page Page
			page.Markdown(test.text)
			if diff := cmp.Diff(test.want, page.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestProse(t *testing.T) {
	var page Page
	page.Section("about")
	page.Prose("It is\nso:\n\n  a - b\n    c\n\nAnd so on.")
	want := ".SH ABOUT\nIt is\nso:\n.PP\n.RS 4\n.nf\na \\- b\n  c\n.fi\n.RE\n.PP\nAnd so on.\n"
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDocument(t *testing.T) {
	p := New("x", 5, "y")
	p.Document("Description", "# title\n\nfirst\n\n## one\n\ntext\n\n## two\nend")
	got := p.String()
	for _, want := range []string{".SH DESCRIPTION\n", "first", ".SH ONE\n", "text", ".SH TWO\n", "end"} {
		before, after, found := strings.Cut(got, want)
		if !found {
			t.Fatalf("no %q in its place, after\n%s", want, before)
		}
		got = after
	}
	if strings.Contains(p.String(), "title") {
		t.Error("the document's own title is in the page")
	}
}
