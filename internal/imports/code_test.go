package imports

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// breaks reports a place that breaks a rule.
func breaks(t *testing.T, place token.Pos, problem string) {
	t.Helper()
	t.Errorf("%s: %s", positions.Position(place), problem)
}

// isName reports whether an expression is a name of another package, "time.Sleep".
func isName(n ast.Node, name string) bool {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name+"."+selector.Sel.Name == name
}

// isCall reports whether n is a call of one of the functions.
func isCall(n ast.Node, names ...string) bool {
	call, ok := n.(*ast.CallExpr)
	return ok && slices.ContainsFunc(names, func(name string) bool {
		id, local := call.Fun.(*ast.Ident)
		return isName(call.Fun, name) || local && id.Name == name
	})
}

// contains reports whether a node below n, or n itself, is as wanted.
func contains(n ast.Node, wanted func(ast.Node) bool) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		found = found || n != nil && wanted(n)
		return !found
	})
	return found
}

// Comments have 100 columns at most; a tab counts as one.
func TestWidthOfComments(t *testing.T) {
	for _, s := range allSources(t) {
		text, err := os.ReadFile(s.name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimLeft(line, "\t"), "//") && utf8.RuneCountInString(line) > 100 {
				t.Errorf("%s:%d: a comment of more than 100 columns", s.name, n+1)
			}
		}
	}
}

// A context in a struct outlives the call that it belongs to.
func TestNoStoredContext(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if structure, ok := n.(*ast.StructType); ok {
				for _, field := range structure.Fields.List {
					if isName(field.Type, "context.Context") {
						breaks(t, field.Pos(), "a struct has a field of type context.Context")
					}
				}
			}
			return true
		})
	}
}

// What does not come from main's context does not end with it.
func TestContextsStartInMain(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest || strings.HasPrefix(s.folder, "cmd/") && strings.HasSuffix(s.name, "/main.go") {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if isName(n, "context.Background") || isName(n, "context.TODO") {
				breaks(t, n.Pos(), "a context starts below main")
			}
			return true
		})
	}
}

// A panic that is recovered without its stack cannot be found.
func TestRecoverKeepsTheStack(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			body := bodyOf(n)
			if body == nil || !contains(body, func(n ast.Node) bool { return isCall(n, "recover") }) {
				return true
			}
			if !contains(body, func(n ast.Node) bool { return isCall(n, "debug.Stack", "panic") }) {
				breaks(t, n.Pos(), "recover without debug.Stack")
			}
			return false
		})
	}
}

// bodyOf returns the body of a function, or nil.
func bodyOf(n ast.Node) *ast.BlockStmt {
	switch f := n.(type) {
	case *ast.FuncDecl:
		return f.Body
	case *ast.FuncLit:
		return f.Body
	}
	return nil
}

// declaration is a function, a type or a variable of a package's tests, or a function that another
// function gives a name to.
type declaration struct {
	name     string
	receiver string          // of a method
	sleeps   []token.Pos     // outside of bubbles
	uses     map[string]bool // names outside of bubbles
}

// declarations are the declarations in the files of one package.
func declarations(files []source) []*declaration {
	bubbles := bubbles(files)
	var found []*declaration
	for _, s := range files {
		var add func(n ast.Node, name, receiver string)
		add = func(n ast.Node, name, receiver string) {
			d := &declaration{name: name, receiver: receiver, uses: make(map[string]bool)}
			found = append(found, d)
			d.read(n, bubbles, func(name string, local *ast.FuncLit) { add(local, name, receiver) })
		}
		for _, d := range s.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(d, d.Name.Name, receiver(d))
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec, spec.Name.Name, "")
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							add(spec, name.Name, "")
						}
					}
				}
			}
		}
	}
	return found
}

// receiver is the name of a method's type, or "".
func receiver(f *ast.FuncDecl) (name string) {
	if f.Recv != nil {
		contains(f.Recv.List[0].Type, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if ok {
				name = id.Name
			}
			return ok
		})
	}
	return name
}

// bubbles are the functions that run a function in a bubble.
func bubbles(files []source) []string {
	names := []string{"synctest.Test"}
	for known := 0; known < len(names); {
		known = len(names)
		for _, s := range files {
			for _, d := range s.syntax.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Body == nil || slices.Contains(names, f.Name.Name) {
					continue
				}
				isFunction := func(n ast.Node) bool { _, ok := n.(*ast.FuncType); return ok }
				if contains(f.Type.Params, isFunction) && contains(f.Body, func(n ast.Node) bool { return isCall(n, names...) }) {
					names = append(names, f.Name.Name)
				}
			}
		}
	}
	return names
}

// read collects the sleeps and names below n, but not those in functions that bubbles run, nor
// those in functions with a name.
func (d *declaration) read(n ast.Node, bubbles []string, named func(string, *ast.FuncLit)) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch {
		case n == nil:
			return true
		case isCall(n, bubbles...):
			return false
		case isName(n, "time.Sleep"):
			d.sleeps = append(d.sleeps, n.Pos())
		}
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == 1 && len(a.Rhs) == 1 {
			name, isName := a.Lhs[0].(*ast.Ident)
			if f, ok := a.Rhs[0].(*ast.FuncLit); ok && isName {
				named(name.Name, f)
				return false
			}
		}
		if id, ok := n.(*ast.Ident); ok {
			d.uses[id.Name] = true
		}
		return true
	})
}

// begins reports whether the go command runs a function, not another function.
func begins(name string) bool {
	return name == "main" || slices.ContainsFunc([]string{"Test", "Benchmark", "Fuzz", "Example"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// outsideOfBubbles are the declarations that a test reaches without entering a bubble. A method
// needs two names: its own, and its type's.
func outsideOfBubbles(all []*declaration) (reached []*declaration) {
	names := map[string]bool{"": true}
	for more := true; more; {
		more = false
		all = slices.DeleteFunc(all, func(d *declaration) bool {
			if !begins(d.name) && !(names[d.name] && names[d.receiver]) {
				return false
			}
			maps.Copy(names, d.uses)
			reached, more = append(reached, d), true
			return true
		})
	}
	return reached
}

// Outside of a bubble a sleep is too short on a busy machine, or too long. A function may
// sleep if tests reach it through bubbles only.
func TestNoSleepOutsideOfBubbles(t *testing.T) {
	packages := make(map[string][]source)
	for _, s := range allSources(t) {
		if s.isTest {
			name := s.folder + " " + s.syntax.Name.Name // tests have two packages in one folder
			packages[name] = append(packages[name], s)
		}
	}
	for _, files := range packages {
		for _, d := range outsideOfBubbles(declarations(files)) {
			for _, place := range d.sleeps {
				breaks(t, place, "time.Sleep outside of a synctest bubble")
			}
		}
	}
}

// A leak of a test is found where it is, not by the test that runs out of descriptors.
func TestEachTestBinaryLooksForLeaks(t *testing.T) {
	// The one is the guest's first process, the other calls Run of its own package.
	looks := map[string]bool{"test/guest/inside": true, "internal/testmain": true}
	for _, s := range allSources(t) {
		if !strings.HasSuffix(s.name, "_test.go") {
			continue
		}
		looks[s.folder] = looks[s.folder] || contains(s.syntax, func(n ast.Node) bool {
			return isCall(n, "testmain.Run", "testmain.Main", "build.Main")
		})
	}
	for folder, does := range looks {
		if !does {
			t.Errorf("%s: TestMain does not call testmain.Run", folder)
		}
	}
}
