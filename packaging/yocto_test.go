package packaging

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/manual"
)

const recipe = "yocto/recipes-phosphor/ipmi/ipmbd"

// module is a module that is linked into the programs, as go mod download describes it.
type module struct {
	Path, Version string
	Zip           string // the file
	Dir           string // the folder
}

// modules returns the linked modules by path.
func modules(t *testing.T) []module {
	t.Helper()
	listed := goCommand(t, "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}", "../cmd/...")
	names := strings.Fields(string(listed))
	slices.Sort(names)
	decoder := json.NewDecoder(bytes.NewReader(goCommand(t, append([]string{"mod", "download", "-json"}, slices.Compact(names)...)...)))
	var all []module
	for {
		var m module
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The fetcher needs the checksum of each module, and the recipe its licence.
func TestModulesOfTheRecipe(t *testing.T) {
	const made = "# Made by a test: IPMBD_UPDATE=1 go test ./packaging.\n\n"
	var sources, checksums strings.Builder
	var licences []string
	for _, m := range modules(t) {
		fmt.Fprintf(&sources, "    gomod://%s;version=%s;sha256sum=%x \\\n", m.Path, m.Version, sha256.Sum256(read(t, m.Zip)))
		found, err := filepath.Glob(filepath.Join(m.Dir, "LICENSE*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s has the licences %v", m.Path, found)
		}
		text := read(t, found[0])
		name := licence(string(text))
		if name == "" {
			t.Errorf("%s: which licence is this?\n%s", m.Path, text)
		}
		licences = append(licences, name)
		fmt.Fprintf(&checksums, "    file://pkg/mod/%s@%s/%s;md5=%x;spdx=%s \\\n", m.Path, m.Version, filepath.Base(found[0]), md5.Sum(text), name)
	}
	slices.Sort(licences)
	manual.Stored(t, recipe+"-go-mods.inc", made+"SRC_URI += \"\\\n"+sources.String()+"\"\n")
	manual.Stored(t, recipe+"-licenses.inc", made+
		"LICENSE += \"& "+strings.Join(slices.Compact(licences), " & ")+"\"\n\nLIC_FILES_CHKSUM += \"\\\n"+checksums.String()+"\"\n")
}

// licence returns the SPDX name of a text, or nothing.
func licence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, row := range []struct{ words, name string }{
		{"Apache License Version 2.0", "Apache-2.0"},
		{"Permission is hereby granted, free of charge", "MIT"},
		{"Neither the name of", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms", "BSD-2-Clause"},
	} {
		if strings.Contains(text, row.words) {
			return row.name
		}
	}
	return ""
}

// The recipe agrees with the sources wherever it repeats them.
func TestRecipeIsOfTheseSources(t *testing.T) {
	text := string(read(t, recipe+"_git.bb"))
	value := func(variable string) string {
		found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(variable) + ` = "(.*)"$`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the recipe has no %s", variable)
		}
		return found[1]
	}
	if want := fmt.Sprintf("md5=%x", md5.Sum(read(t, "../LICENSE"))); !strings.HasSuffix(value("LIC_FILES_CHKSUM"), want) {
		t.Errorf("the licence has %s", want)
	}

	units, err := filepath.Glob("../units/*.*")
	if err != nil {
		t.Fatal(err)
	}
	var enabled []string
	for _, unit := range units {
		if name := filepath.Base(unit); bytes.Contains(read(t, unit), []byte("\n[Install]\n")) && !strings.Contains(name, "@") {
			enabled = append(enabled, name)
		}
	}
	if diff := cmp.Diff(enabled, strings.Fields(value("SYSTEMD_SERVICE:${PN}"))); diff != "" {
		t.Errorf("units that can be enabled: -units +recipe:\n%s", diff)
	}

	if version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, "../go.mod")))[1]; !strings.Contains(text, "Go "+version+".") {
		t.Errorf("it does not say that it needs Go %s", version)
	}
	// What the text has a .bbappend install must be in the package; /etc is.
	for _, folder := range regexp.MustCompile(`into (\$\{\w+\}/\w+)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(folder[1], "${sysconfdir}/") && !strings.Contains(text, "    "+folder[1]+" \\\n") {
			t.Errorf("FILES has no %s", folder[1])
		}
	}

	var groups []string
	for _, line := range regexp.MustCompile(`(?m)^g (\S+)`).FindAllStringSubmatch(string(read(t, "../units/sysusers.conf")), -1) {
		groups = append(groups, "-r "+line[1])
	}
	if diff := cmp.Diff(strings.Join(groups, "; "), value("GROUPADD_PARAM:${PN}")); diff != "" {
		t.Errorf("groups: -units +recipe:\n%s", diff)
	}
}

const machineAppend = "yocto/machine/recipes-phosphor/ipmi/ipmbd_%.bbappend"

// bitbake runs functions of a recipe in the shell, as bitbake does: in order of their texts, and
// with its variables. It knows nothing else of bitbake.
type bitbake struct {
	variables map[string]string
	path      string // of the programs
}

// task runs the functions with these names in the files.
func (b bitbake) task(t *testing.T, files []string, names ...string) (output string, err error) {
	t.Helper()
	script := "oe_runmake() { make --no-print-directory " + b.variables["EXTRA_OEMAKE"] + ` "$@"; }` + "\n"
	for _, name := range names {
		body := ""
		for _, file := range files {
			function := regexp.MustCompile(`(?ms)^` + regexp.QuoteMeta(name) + `\(\) \{$(.*?)^\}$`)
			if found := function.FindStringSubmatch(string(read(t, file))); found != nil {
				body = found[1]
			}
		}
		if body == "" {
			t.Fatalf("no function %s", name)
		}
		script += regexp.MustCompile(`\$\{(\w+)\}`).ReplaceAllStringFunc(body, func(variable string) string {
			value, known := b.variables[strings.Trim(variable, "${}")]
			if !known {
				t.Fatalf("%s: what is %s?", name, variable)
			}
			return value
		})
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = slices.Concat(os.Environ(), []string{"CGO_ENABLED=0", "PATH=" + b.path + ":" + os.Getenv("PATH")})
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newBitbake has the variables of the recipe, as go.bbclass of OE-Core sets them. Its
// flags of the linker would have Go compile everything anew; test/systemd runs such a program.
func newBitbake(t *testing.T) bitbake {
	t.Helper()
	work := t.TempDir()
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"/build/src", "/unpacked"} {
		if err := os.MkdirAll(work+folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(source, work+"/build/src/ipmbd"); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, recipe+"_git.bb"))
	value := func(variable string) string {
		found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(variable) + ` = "(.*)"$`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the recipe has no %s", variable)
		}
		return found[1]
	}
	b := bitbake{variables: map[string]string{
		"B": work + "/build", "D": work + "/image", "UNPACKDIR": work + "/unpacked", "GO": "go", "PV": value("PV"),
		"prefix": "/usr", "bindir": "/usr/bin", "datadir": "/usr/share", "GO_IMPORT": value("GO_IMPORT"),
	}, path: work + "/build/programs"}
	expand := func(text string) string {
		text = strings.ReplaceAll(text, "${@d.getVar('SRCREV')[:12]}", "0123456789ab")
		return os.Expand(text, func(name string) string { return b.variables[name] })
	}
	b.variables["EXTRA_OEMAKE"] = expand(value("EXTRA_OEMAKE"))
	b.variables["GOBUILDFLAGS"] = `-trimpath -ldflags="` + expand(value("GO_EXTRA_LDFLAGS")) + `"` +
		expand(value("GOBUILDFLAGS:append"))
	return b
}

// The recipe's functions build and install the program, and the package of a machine has
// ipmbbridge's file only if it is good.
func TestRecipeBuilds(t *testing.T) {
	b := newBitbake(t)
	recipes := []string{recipe + "_git.bb", machineAppend}
	if out, err := b.task(t, recipes, "do_compile", "do_compile:append:class-target", "do_install"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want []string
	for line := range strings.Lines(string(read(t, "../tools/installed"))) {
		if _, path, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.Contains(path, "/zsh/") && !strings.Contains(path, "/fish/") {
			want = append(want, path)
		}
	}
	if diff := cmp.Diff(want, filesBelow(t, b.variables["D"])); diff != "" {
		t.Errorf("files: -tools/installed +image:\n%s", diff)
	}
	program := b.variables["D"] + "/usr/bin/ipmbd"
	if out, err := exec.Command(program, "--version").Output(); string(out) != "ipmbd "+b.variables["PV"]+"-0123456789ab\n" {
		t.Errorf("%s, %v", out, err)
	}
	if !strings.Contains(string(read(t, recipe+"_git.bb")), "${GO} build ${GOBUILDFLAGS} ") {
		t.Error("the build does not take the flags of go.bbclass, by which the program is position-independent")
	}
	if !regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\+git$`).MatchString(b.variables["PV"]) {
		t.Errorf("version %s", b.variables["PV"])
	}

	const good = `{"channels": [{"type": "me", "slave-path": "/dev/ipmb-4", "bmc-addr": 32, "remote-addr": 44}]}`
	for name, tt := range map[string]struct {
		text string
		good bool
	}{
		"good":                {good, true},
		"a key of the past":   {strings.Replace(good, `"type"`, `"master-path": "/dev/i2c-4", "type"`, 1), false},
		"an entry with fault": {strings.Replace(good, "32", "33", 1), false},
		"no JSON":             {"{", false},
	} {
		if err := os.WriteFile(b.variables["UNPACKDIR"]+"/ipmb-channels.json", []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := b.task(t, recipes, "do_install:append:class-target"); (err == nil) != tt.good {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}

	b.variables["D"] += "-native"
	if out, err := b.task(t, recipes, "do_install:class-native"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := filesBelow(t, b.variables["D"]); !slices.Equal(got, []string{"usr/bin/ipmbd"}) {
		t.Errorf("the native package has %v", got)
	}
}

// filesBelow are the files below a folder.
func filesBelow(t *testing.T, folder string) (paths []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}
