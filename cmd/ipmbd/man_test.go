package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/service/config"
)

// The manual page, which says more of them than --help does, has the options and
// the exit codes of --help, and no others.
func TestManualPage(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/ipmbd.8")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\-`, "-")

	helped := named(`(?m)^  (--[a-z-]+(?: [A-Z]+)?)`, usage)
	documented := named(`\n\.TP\n\\fB(--[a-z-]+\\fR(?: [A-Z]+)?)`, page)
	for i := range documented {
		documented[i] = strings.ReplaceAll(documented[i], `\fR`, "")
	}
	if diff := cmp.Diff(helped, documented); diff != "" {
		t.Errorf("options of --help and of the page (-help +page):\n%s", diff)
	}
	if diff := cmp.Diff(named(`[:,] (\d) `, usage), named(`\n\\fB(\d)\\fR\n`, page)); diff != "" {
		t.Errorf("exit codes of --help and of the page (-help +page):\n%s", diff)
	}
	for _, source := range config.Known() {
		if !slices.Contains(strings.Split(page, "\n"), ".I "+source.Path) {
			t.Errorf("the page does not name %s", source.Path)
		}
	}
}

// named returns the matches of a pattern.
func named(pattern, text string) []string {
	var all []string
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	return all
}
