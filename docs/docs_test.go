package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// width is how many columns a line of a document may have. Lines of code, and rows of tables
// with a link, may be longer.
const width = 100

// documents are all documents that people read, by their path from here.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"*.md", "../*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d documents, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
	}
	return texts
}

var codeBlock = regexp.MustCompile("(?ms)^```.*?^```$")

func TestLinesAreShort(t *testing.T) {
	for path, text := range documents(t) {
		blank := func(code string) string { return strings.Repeat("\n", strings.Count(code, "\n")) }
		number := 0
		for line := range strings.Lines(codeBlock.ReplaceAllStringFunc(text, blank)) {
			number++
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && !strings.Contains(line, "](") {
				t.Errorf("%s:%d: %d columns", path, number, n)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	texts := documents(t)
	for path, text := range texts {
		for _, found := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			target, anchor := path, found[2]
			if strings.Contains(found[1], "://") {
				continue
			}
			if found[1] != "" {
				target = filepath.Join(filepath.Dir(path), found[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if anchor != "" && !anchors(texts[target])[anchor] {
				t.Errorf("%s: %s has no heading %s", path, target, anchor)
			}
		}
	}
}

// anchors are the links to the headings of a document.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		found["#"+strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return found
}

// hop is how architecture.md names a step on the way of a message.
var hop = regexp.MustCompile("`([\\w.]+)` \\(`([\\w/]+\\.go)`\\)")

func TestWaysOfMessagesExist(t *testing.T) {
	text := documents(t)["architecture.md"]
	steps := hop.FindAllStringSubmatch(strings.Join(strings.Fields(text), " "), -1)
	if len(steps) < 30 {
		t.Fatalf("%d steps", len(steps))
	}
	for _, step := range steps {
		if name, file := step[1], step[2]; !functions(t, "../"+file)[name] {
			t.Errorf("%s has no function %s", file, name)
		}
	}
}

// functions returns the functions of a file, as Name or Type.Name.
func functions(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, declaration := range file.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if generic, ok := receiver.(*ast.IndexExpr); ok {
				receiver = generic.X
			}
			name = receiver.(*ast.Ident).Name + "." + name
		}
		names[name] = true
	}
	return names
}

// The picture has a box for each package except tests, data and small helpers.
func TestPictureHasEachPackage(t *testing.T) {
	picture, err := os.ReadFile("architecture.svg")
	if err != nil {
		t.Fatal(err)
	}
	missing := make(map[string]bool)
	small := regexp.MustCompile(`^(test|tools|xml|units|packaging|docs|internal/(?:[^d]|dbuswire/))`)
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		if !small.MatchString(folder) && !strings.Contains(string(picture), ">"+folder+"<") {
			missing[folder] = true
		}
		return nil
	})
	if err != nil || len(missing) > 0 {
		t.Errorf("no boxes for %v, %v", missing, err)
	}
}
