package packaging

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
