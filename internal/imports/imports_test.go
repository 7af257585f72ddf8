package imports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "ipmbd/"
)

// rule is what the packages of one folder may import beside the standard
// library.
type rule struct {
	ours   []string // of this module
	others []string // of other modules, by prefix
}

const (
	dbusModule    = "github.com/godbus/dbus/v5"
	systemdModule = "github.com/coreos/go-systemd/v22/"
	zapModule     = "go.uber.org/zap"
	cobraModule   = "github.com/spf13/cobra"
	sysModule     = "golang.org/x/sys/unix"
	boltModule    = "go.etcd.io/bbolt"
)

// rules has an entry for every package. Siblings never import each other, so
// that each can be read, tested and replaced by itself; service alone knows
// everything. The things that siblings share are in a package below them: ipmi, bmc/record
// for event logs, and bus, by which dbusapi, frames and bridge send, so that none
// of them reaches a bus through another. Only cmd/ipmbctl may import cobra: the daemon
// must not carry it.
var rules = map[string]rule{
	"ipmi":              {},
	"i2c":               {ours: []string{"internal/chardev", "internal/socket", "internal/counters"}, others: []string{sysModule}},
	"ipmb":              {ours: []string{"ipmi", "i2c", "internal/counters"}},
	"dbusapi":           {ours: []string{"ipmi", "ipmb", "bus", "internal/socket", "xml", "internal/counters"}, others: []string{dbusModule, sysModule}},
	"bus":               {ours: []string{"ipmi", "ipmb", "internal/counters"}},
	"frames":            {ours: []string{"ipmi", "ipmb", "bus", "internal/socket", "internal/counters"}, others: []string{sysModule}},
	"bmc/record":        {ours: []string{"ipmi"}},
	"bmc":               {ours: []string{"ipmi", "bmc/record"}, others: []string{boltModule}},
	"host":              {ours: []string{"ipmi", "internal/chardev", "internal/socket", "internal/counters"}, others: []string{sysModule}},
	"bridge":            {ours: []string{"ipmi", "ipmb", "bus", "internal/counters"}},
	"xml":               {},
	"units":             {},
	"packaging":         {},
	"internal/manual":   {},
	"service":           {ours: []string{"ipmi", "i2c", "ipmb", "bus", "bmc", "bridge", "host", "dbusapi", "frames", "internal/socket", "xml", "units"}, others: []string{dbusModule, systemdModule, zapModule, sysModule}},
	"cmd/ipmbd":         {ours: []string{"service"}, others: []string{zapModule, systemdModule}},
	"cmd/ipmbctl":       {ours: []string{"dbusapi", "ipmb", "ipmi", "bmc/record"}, others: []string{cobraModule, dbusModule, sysModule}},
	"internal/await":    {},
	"internal/bustest":  {others: []string{dbusModule}},
	"internal/counters": {}, // one mechanism for the statistics of all
	"internal/chardev":  {others: []string{sysModule}},
	"internal/imports":  {},
	"internal/socket":   {others: []string{sysModule}},
}

// helperRule is for packages below test: tools for tests, which may use all but
// the service.
var helperRule = rule{
	ours:   []string{"ipmi", "i2c", "ipmb", "bus", "dbusapi", "frames", "xml", "units", "internal/bustest", "test/hostd"},
	others: []string{dbusModule, sysModule},
}

// contract is what of i2c the engine knows: what every transport has.
var contract = []string{
	"Transport", "DirectWriter", "Batch", "Limits", "NotDelivered",
	"ErrNotAcknowledged", "ErrArbitrationLost", "ErrStuck", "ErrTooLong", "ErrClosed",
}

// source is a file that is no test.
type source struct {
	folder string // in the module, "ipmi"
	name   string
	syntax *ast.File
}

// sources are all of the module's files that are no tests, whatever their
// build constraints.
func sources(t *testing.T) []source {
	t.Helper()
	var found []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && ignored(entry.Name()):
			return filepath.SkipDir
		case entry.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(name))
		found = append(found, source{filepath.ToSlash(folder), name, syntax})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no sources found")
	}
	return found
}

// ignored reports whether the go command passes over a folder of the name.
func ignored(folder string) bool {
	return folder == "testdata" || strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_")
}

// imports are the paths that a file imports.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err) // the parser has read it
		}
		paths = append(paths, p)
	}
	return paths
}

func TestWhoMayImportWhom(t *testing.T) {
	for _, s := range sources(t) {
		r, known := rules[s.folder]
		if strings.HasPrefix(s.folder, "test/") {
			r, known = helperRule, true
		}
		if !known {
			t.Errorf("%s: no rule says what package %s may import", s.name, s.folder)
			continue
		}
		for _, p := range s.imports() {
			if !r.allows(p) {
				t.Errorf("%s: package %s may not import %s", s.name, s.folder, p)
			}
		}
	}
}

func (r rule) allows(p string) bool {
	if own, ok := strings.CutPrefix(p, module); ok {
		return slices.Contains(r.ours, own)
	}
	first, _, _ := strings.Cut(p, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(r.others, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
}

func TestRulesForbid(t *testing.T) {
	for folder, path := range map[string]string{
		"ipmi":        "ipmbd/i2c",
		"i2c":         "ipmbd/ipmi",
		"ipmb":        "go.uber.org/zap",
		"dbusapi":     "ipmbd/service",
		"frames":      "ipmbd/dbusapi",
		"bus":         "ipmbd/i2c",
		"service":     "github.com/spf13/cobra",
		"cmd/ipmbctl": "ipmbd/service",
	} {
		if rules[folder].allows(path) {
			t.Errorf("%s may import %s", folder, path)
		}
	}
}

// The engine must work on a transport that is yet to be written.
func TestEngineKnowsOnlyTheContractOfTransports(t *testing.T) {
	for _, s := range sources(t) {
		if s.folder != "ipmb" || !slices.Contains(s.imports(), module+"i2c") {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok && x.Name == "i2c" && !slices.Contains(contract, selector.Sel.Name) {
				t.Errorf("%s: i2c.%s is not of the contract", s.name, selector.Sel.Name)
			}
			return true
		})
	}
}

// What goes round Go's types is easier to judge in one place.
func TestUnsafeInOneFilePerPackage(t *testing.T) {
	files := map[string][]string{}
	for _, s := range sources(t) {
		if slices.Contains(s.imports(), "unsafe") {
			files[s.folder] = append(files[s.folder], path.Base(s.name))
		}
	}
	for folder, names := range files {
		if len(names) > 1 {
			t.Errorf("package %s imports unsafe in %s", folder, strings.Join(names, " and "))
		}
	}
}
