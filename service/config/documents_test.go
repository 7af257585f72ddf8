package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the documents show of a configuration is one: whole files, and keys that
// stand beside the channels of one.
func TestConfigurationsInTheDocumentsAreGood(t *testing.T) {
	var blocks [][][]byte
	for _, path := range []string{"../../README.md", "../../docs/configuration.md", "../../docs/requests.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s shows none", path)
		}
		blocks = append(blocks, found...)
	}
	for _, block := range blocks {
		file := string(block[1])
		if !strings.HasPrefix(file, "{") {
			file = `{"channels": [{"slave-path": "/dev/ipmb-4", "remote-addr": 64}], ` + file + "}"
		}
		if _, warnings, err := Parse(strictFile, []byte(file)); err != nil || len(warnings) > 0 {
			t.Errorf("%v, %v in\n%s", err, warnings, file)
		}
	}
}
