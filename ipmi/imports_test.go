package ipmi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every other package shares the message model: an import of its own would bind them all to it.
func TestImportsOnlyTheStandardLibrary(t *testing.T) {
	for _, file := range parseSources(t, parser.ImportsOnly) {
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(path, "/"); first == "ipmbd" || strings.Contains(first, ".") {
				t.Errorf("package ipmi imports %s", path)
			}
		}
	}
}

// parseSources reads the files of the package, tests left out.
func parseSources(t *testing.T, mode parser.Mode) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("no sources to read: %v", err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
