package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/xml"
)

// updateVariable in the environment has the document written again.
const updateVariable = "IPMBD_UPDATE"

// document is the description of the D-Bus API.
const document = "../../docs/dbus.md"

// TestDocumentOfTheAPI runs the commands in the document, on the board that it describes, in one
// shell: they print the output in the document.
func TestDocumentOfTheAPI(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	bus := bustest.Start(t)
	n, gone := listen(t, "ipmb-5"), newNode(t, "ipmb-6")
	n.respond(0x2C, deviceID)
	n.respond(0x42, func(packet, func(packet)) {})
	host, _ := bt(t, object{"legacy-api": true})
	start(t, bus.Address, object{
		"channels": []object{
			channel(n, object{"handler": "signal"}),
			channel(gone, object{"devIndex": 1, "name": "bus6"}),
		},
		"hosts": []object{host},
	})
	got := outputs(t, bus.Address, string(text))
	for _, path := range []struct{ here, there string }{
		{filepath.Dir(n.path), "/run/board"},
		{filepath.Dir(gone.path), "/run/board"},
		{host["path"].(string), "/dev/ipmi-bt-host"},
	} {
		got = strings.ReplaceAll(got, path.here, path.there)
	}
	got = uniqueName.ReplaceAllString(got, ":1.7")
	got = processID.ReplaceAllString(got, "process 412")
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(document, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("%s is not what there is; %s=1 go test ./test/e2e -run %s makes it anew\n%s", document, updateVariable, t.Name(), diff)
	}
}

// These parts differ each time.
var (
	uniqueName = regexp.MustCompile(`:1\.\d+`)
	processID  = regexp.MustCompile(`process \d+`)
)

// outputs returns the text with the present output of its commands.
func outputs(t *testing.T, address, text string) string {
	t.Helper()
	var script strings.Builder
	var parts []string // of the text, each of them but the last followed by an output
	var part strings.Builder
	inside, command := false, ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console\n"
		case inside && command == "" && !strings.HasPrefix(line, "$ "):
			continue // the output of that time
		case inside:
			command += strings.TrimPrefix(line, "$ ")
			part.WriteString(line)
			if !strings.HasSuffix(line, "\\\n") {
				parts = append(parts, part.String())
				part.Reset()
				fmt.Fprintf(&script, "exec >%d 2>&1\n%s", len(parts), command)
				command = ""
			}
			continue
		}
		part.WriteString(line)
	}
	printed := runScript(t, address, script.String(), len(parts))
	var b strings.Builder
	for i, each := range parts {
		b.WriteString(each + printed[i])
	}
	return b.String() + part.String()
}

// runScript runs a script in a folder of its own. Its commands print into the files 1 to n, which
// runScript returns.
func runScript(t *testing.T, address, script string, n int) []string {
	t.Helper()
	dir := t.TempDir()
	shell := exec.CommandContext(t.Context(), "bash")
	shell.Dir = dir
	shell.Stdin = strings.NewReader(script)
	shell.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+address, "PATH="+filepath.Dir(tool)+":"+os.Getenv("PATH"))
	if out, err := shell.CombinedOutput(); err != nil && shell.ProcessState == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	printed := make([]string, n)
	for i := range printed {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i+1)))
		if err != nil {
			t.Fatal(err)
		}
		printed[i] = string(b)
	}
	return printed
}

// TestDocumentNamesEverything: every member of the API.
func TestDocumentNamesEverything(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	named := func(of, name string) {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s of %s is not in %s", name, of, document)
		}
	}
	for _, name := range xml.Names() {
		if strings.HasPrefix(name, "org.freedesktop.") {
			continue
		}
		i, err := xml.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, member := range append(i.Methods, i.Signals...) {
			named(name, member.Name)
		}
		for _, property := range i.Properties {
			named(name, property.Name)
		}
	}
}
