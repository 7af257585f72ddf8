package service

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the README shows of a configuration is one: whole files, and keys that
// stand beside the channels of one.
func TestConfigurationsInTheREADMEAreGood(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, block := range blocks {
		file := string(block[1])
		if !strings.HasPrefix(file, "{") {
			file = `{"channels": [{"slave-path": "/dev/ipmb-4", "remote-addr": 64}], ` + file + "}"
		}
		if _, warnings, err := ParseConfig(strictFile, []byte(file)); err != nil || len(warnings) > 0 {
			t.Errorf("%v, %v in\n%s", err, warnings, file)
		}
	}
}
