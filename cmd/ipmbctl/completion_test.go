package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ipmbd/internal/bustest"
)

// bashCompletion is Debian's package of the same name, on which the script builds.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// pressTab prints how a line can go on, after the files $1 and $2 were read. A space precedes the
// description of each word. compopt is for the key itself.
const pressTab = `
. "$1"
. "$2"
compopt() { :; }
COMP_LINE=$3 COMP_POINT=${#3} COMP_TYPE=9
IFS=" " read -ra COMP_WORDS <<<"$COMP_LINE."
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_WORDS[COMP_CWORD]=${COMP_WORDS[COMP_CWORD]%.}
__start_ipmbctl
for reply in "${COMPREPLY[@]}"; do echo "${reply%% *}"; done`

// presses is how often the key is pressed for an answer: ipmbd has completionTime for it, which can
// be too short on a machine that is busy with other tests.
const presses = 20

// The names of buses come from the running daemon: the shell runs this program.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err == nil {
		_, err = os.Stat(bashCompletion)
	}
	if err != nil {
		t.Skip("not run: ", err)
	}
	r := newRig(t, bustest.Config{})
	r.addHosts(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var script bytes.Buffer
	if code := run(context.Background(), []string{"completion", "bash"}, environment{stdout: &script, stderr: os.Stderr, getenv: os.Getenv, isTerminal: isTerminal}); code != exitOK {
		t.Fatal("no script")
	}
	for name, text := range map[string]string{
		"script":  script.String(),
		"ipmbctl": "#!/bin/sh\n" + asProgram + "=1 exec '" + program + "' \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"ipmbctl li":               "list",
		"ipmbctl info ":            "bus0 host0 kcs3 me1",
		"ipmbctl remove k":         "kcs3",
		"ipmbctl scan ":            "bus0 me1",
		"ipmbctl info b":           "bus0",
		"ipmbctl monitor me1 ":     "bus0 me1",
		"ipmbctl sel ":             "clear info list",
		"ipmbctl send --fa":        "--fail-fast",
		"ipmbctl respond app warm": "warm-reset",
		"ipmbctl send b":           "bus0",
		"ipmbctl send bus0 sto":    "storage",
		"ipmbctl send bus0 0x2c a": "app",
		"ipmbctl send bus0 6 warm": "warm-reset",
	} {
		t.Run(line, func(t *testing.T) {
			got := ""
			for range presses {
				cmd := exec.Command(bash, "--norc", "-c", pressTab, "bash", bashCompletion, filepath.Join(dir, "script"), line)
				cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DBUS_SYSTEM_BUS_ADDRESS=" + r.bus.Address}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v", out, err)
				}
				if got = strings.Join(strings.Fields(string(out)), " "); got == want {
					return
				}
			}
			t.Errorf("%q, want %q", got, want)
		})
	}
}
