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
	"sync"
	"testing"
)

const (
	root   = "../.."
	module = "ipmbd/"
)

// rule says what the package of one folder may import beside the standard library.
type rule struct {
	ours   []string // of this module
	others []string // of other modules, by prefix
	why    string
}

const (
	dbusModule    = "github.com/godbus/dbus/v5"
	systemdModule = "github.com/coreos/go-systemd/v22/"
	zapModule     = "go.uber.org/zap"
	cobraModule   = "github.com/spf13/cobra"
	pflagModule   = "github.com/spf13/pflag" // the flags of cobra
	sysModule     = "golang.org/x/sys/unix"
)

// rules has a row for every package outside of test. Siblings never import each other, so
// that each can be read, tested and replaced by itself. What siblings share is in a package
// below them.
var rules = map[string]rule{
	"ipmi": {why: "every package needs the message model, so it needs none of them"},
	"i2c": {
		ours:   []string{"internal/chardev", "internal/socket", "internal/counters"},
		others: []string{sysModule},
		why:    "a transport moves bytes and knows nothing of IPMI",
	},
	"i2c/sim": {
		ours: []string{"i2c", "internal/counters"},
		why:  "a simulated bus is for tests and the demonstration, and no transport needs it",
	},
	"ipmb": {
		ours: []string{"ipmi", "i2c", "internal/counters"},
		why:  "the engine speaks IPMI on any transport, and of i2c it knows the contract only",
	},
	"bus": {
		ours: []string{"ipmi", "ipmb"},
		why:  "dbusapi, frames and bridge send by it, so that none of them reaches a bus through another",
	},
	"bus/i2cbus": {
		ours:   []string{"ipmi", "i2c", "ipmb", "bus"},
		others: []string{sysModule},
		why:    "it is the one place where an engine, its transport and the kernel's device meet",
	},
	"bus/openipmi": {
		ours:   []string{"ipmi", "i2c", "ipmb", "bus", "internal/chardev", "internal/counters"},
		others: []string{sysModule},
		why:    "Linux's driver and the bus on it change together",
	},
	"dbusapi": {
		ours:   []string{"ipmi", "ipmb", "bus", "xml", "internal/dbuswire", "internal/counters"},
		others: []string{dbusModule},
		why:    "the D-Bus side serves buses, whatever carries them",
	},
	"dbusapi/client": {
		ours:   []string{"ipmi", "ipmb", "bus", "xml", "internal/dbuswire"},
		others: []string{dbusModule},
		why:    "programs that call the daemon need not carry it",
	},
	"frames": {
		ours:   []string{"ipmi", "ipmb", "bus", "internal/socket", "internal/counters"},
		others: []string{sysModule},
		why:    "the frame socket works without D-Bus",
	},
	"bridge": {
		ours: []string{"ipmi", "ipmb", "bus", "internal/counters"},
		why:  "it moves messages between channels, and needs no system call for that",
	},
	"host": {
		ours:   []string{"ipmi", "internal/chardev", "internal/socket", "internal/counters"},
		others: []string{sysModule},
		why:    "a host interface gives requests to any handler and knows no bus",
	},
	"bmc/record": {
		ours: []string{"ipmi"},
		why:  "ipmbctl reads records, too, and must not carry a BMC",
	},
	"bmc": {
		ours: []string{"ipmi", "bmc/record", "internal/fdtrace", "internal/readfile"},
		why:  "the BMC is a handler of requests like any other",
	},
	"service": {
		ours: []string{
			"ipmi", "i2c", "i2c/sim", "ipmb", "bus", "bus/i2cbus", "bus/openipmi", "bmc", "bridge",
			"host", "dbusapi", "frames", "service/config", "internal/openbmc", "internal/fdtrace", "internal/socket",
		},
		others: []string{dbusModule, systemdModule, zapModule, sysModule},
		why:    "it builds everything, so it alone knows everything",
	},
	"service/config": {
		ours: []string{"ipmi", "i2c", "bus", "bmc", "bmc/record", "host", "internal/readfile"},
		why:  "a configuration is judged by the packages that it configures, and nothing runs here",
	},
	"cmd/ipmbd": {
		ours:   []string{"service", "service/config"},
		others: []string{zapModule, systemdModule},
		why:    "flags, and a call into service; it must not carry cobra",
	},
	"cmd/ipmbctl": {
		ours:   []string{"dbusapi/client", "ipmb", "ipmi", "bmc/record", "xml"},
		others: []string{cobraModule, pflagModule, sysModule},
		why:    "a client of the daemon, which must not carry it",
	},
	"xml":          {why: "documents and names, and no code that could need anything"},
	"units":        {why: "files to install, and no code that could need anything"},
	"tools/report": {why: "it reads the output of go test"},
	"packaging":    {why: "files to install, and no code that could need anything"},
	"internal/fakelink": {
		ours: []string{"ipmi", "ipmb", "bus"},
		why:  "tests of a bus's clients need no bus",
	},
	"internal/await":    {why: "tests of every package use it"},
	"internal/bustest":  {others: []string{dbusModule}, why: "tests of every package use it"},
	"internal/counters": {why: "the statistics of every package are made with it"},
	"internal/chardev":  {ours: []string{"internal/fdtrace"}, others: []string{sysModule}, why: "i2c and host share it: devices and attributes of the kernel"},
	"internal/dbuswire": {
		ours:   []string{"internal/socket"},
		others: []string{dbusModule, sysModule},
		why:    "the server and the client share it, and it knows of no IPMI",
	},
	"internal/openbmc": {
		ours:   []string{"dbusapi", "internal/dbuswire", "ipmi", "xml"},
		others: []string{dbusModule},
		why:    "it calls services of OpenBMC, as the daemon's own service on D-Bus does",
	},
	"internal/imports":  {why: "it reads the sources, and needs none of them"},
	"internal/manual":   {why: "it makes pages of text from text"},
	"internal/readfile": {ours: []string{"internal/fdtrace"}, why: "each package that reads a file needs its bounds"},
	"internal/fdtrace":  {why: "packages that open descriptors call it"},
	"internal/testmain": {ours: []string{"internal/fdtrace"}, others: []string{"go.uber.org/goleak"}, why: "tests of every package use it"},
	"internal/socket":   {ours: []string{"internal/fdtrace"}, others: []string{sysModule}, why: "i2c, host, frames and dbuswire share it: Unix sockets"},
}

// helperRule is for packages below test.
var helperRule = rule{
	ours: []string{
		"ipmi", "i2c", "i2c/sim", "ipmb", "bus", "dbusapi", "dbusapi/client", "frames", "xml", "units",
		"internal/bustest", "internal/dbuswire", "internal/testmain", "test/build", "test/hostd",
	},
	others: []string{dbusModule, sysModule},
	why:    "tools for tests may use all but the service, which they start as a program",
}

// contract is the part of i2c that the engine may use: it is common to all transports.
var contract = []string{
	"Transport", "DirectWriter", "Batch", "Limits", "NotDelivered",
	"ErrNotAcknowledged", "ErrArbitrationLost", "ErrStuck", "ErrTooLong", "ErrClosed",
}

// source is a file of the module, with any build constraints.
type source struct {
	folder string // in the module, "ipmi"
	name   string
	isTest bool // the file belongs to a test, or its package is a tool for tests
	syntax *ast.File
}

// testTools are the packages that only tests import, beside all below test.
var testTools = []string{"internal/await", "internal/bustest", "internal/fakelink", "internal/imports", "internal/testmain"}

var positions = token.NewFileSet()

var files = sync.OnceValues(func() (found []source, err error) {
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && ignored(entry.Name()):
			return filepath.SkipDir
		case entry.IsDir(), !strings.HasSuffix(name, ".go"):
			return nil
		}
		syntax, err := parser.ParseFile(positions, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(name))
		folder = filepath.ToSlash(folder)
		isTest := strings.HasSuffix(name, "_test.go") || strings.HasPrefix(folder, "test/") || slices.Contains(testTools, folder)
		found = append(found, source{folder, name, isTest, syntax})
		return err
	})
	return found, err
})

// sources returns the module's files that belong to no test. Of packages that are tools for tests
// it returns all.
func sources(t *testing.T) []source {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(allSources(t)), func(s source) bool {
		return strings.HasSuffix(s.name, "_test.go")
	})
}

// allSources returns the files of sources and of tests.
func allSources(t *testing.T) []source {
	t.Helper()
	found, err := files()
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
	used := make(map[string][]string) // what the packages import
	for _, s := range sources(t) {
		used[s.folder] = append(used[s.folder], s.imports()...)
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
				t.Errorf("%s: package %s may not import %s: %s", s.name, s.folder, p, r.why)
			}
		}
	}
	for folder, r := range rules {
		if r.why == "" {
			t.Errorf("the rule for package %s has no reason", folder)
		}
		if _, exists := used[folder]; !exists {
			t.Errorf("there is a rule for package %s, but no such package", folder)
		}
		for _, name := range r.ours {
			if !slices.Contains(used[folder], module+name) {
				t.Errorf("package %s may import %s, but does not", folder, name)
			}
		}
		for _, prefix := range r.others {
			if !slices.ContainsFunc(used[folder], func(p string) bool { return strings.HasPrefix(p, prefix) }) {
				t.Errorf("package %s may import %s, but does not", folder, prefix)
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
				t.Errorf("%s: i2c.%s is not in the contract", s.name, selector.Sel.Name)
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
