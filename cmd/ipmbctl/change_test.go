package main

import (
	"fmt"
	"strings"
	"testing"

	"ipmbd/dbusapi"
	"ipmbd/internal/bustest"
)

// changes are the results of the commands that change ipmbd, one after the other.
var changes = []struct {
	name  string
	args  []string
	stdin string
	want  result
}{
	{"add a bus", []string{"add", `{"name": "bus7"}`}, "", result{stdout: `
bus7 is added: Up
`}},
	{"add a host interface from standard input", []string{"add", "-"}, `{"name": "host1", "path": "unix:/run/h"}`, result{stdout: `
host1 is added
`}},
	{"reload", []string{"reload"}, "", result{stdout: `
reloaded: 3 buses, 1 host interface
`}},
	{"completion of remove", []string{"__complete", "remove", ""}, "", result{stdout: `
bus0	/dev/ipmb-0
bus7	/dev/ipmb-7
host1	unix:/run/h
me1	/run/me1.sock
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of one more", []string{"__complete", "remove", "bus0", ""}, "", result{stdout: `
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of add", []string{"__complete", "add", ""}, "", result{stdout: `
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"remove a bus", []string{"remove", "bus7"}, "", result{stdout: `
bus7 is removed
`}},
	{"remove it again", []string{"remove", "bus7"}, "", result{code: 1, stderr: `
ipmbctl: no bus and no host interface "bus7"
  there are: bus0, host1, me1
`}},
	{"remove a host interface", []string{"remove", "host1"}, "", result{stdout: `
host1 is removed
`}},
	{"add no JSON", []string{"add", "{"}, "", result{code: 6, stderr: `
ipmbctl: the configuration is wrong: channel = null: must be an object
and more
`}},

	{"add nothing", []string{"add"}, "", result{code: 2, stderr: `
ipmbctl: one JSON object, or - for standard input, not 0 arguments
  see 'ipmbctl add --help'
`}},
	{"remove two", []string{"remove", "bus0", "me1"}, "", result{code: 2, stderr: `
ipmbctl: one name of a bus or a host interface, not 2
  see 'ipmbctl remove --help'
`}},
	{"reload with a word too many", []string{"reload", "bus0"}, "", result{code: 2, stderr: `
ipmbctl: reload takes no arguments, not "bus0"
  see 'ipmbctl reload --help'
`}},

	{"add a bus, in JSON", []string{"add", `{"name": "bus7"}`, "--json"}, "", result{stdout: `
{"name":"bus7","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/bus7","device":"/dev/ipmb-7","transport":"ipmb-dev","channel":0,"index":8,"ownAddress":32,"remoteAddress":44,"state":"Up"}
`}},
	{"add a host interface, in JSON", []string{"add", `{"name": "host1", "path": "x"}`, "--json"}, "", result{stdout: `
{"name":"host1","done":"added"}
`}},
	{"reload, in JSON", []string{"reload", "--json"}, "", result{stdout: `
{"buses":["bus0","bus7","me1"],"hosts":["host1"]}
`}},
	{"remove, in JSON", []string{"remove", "host1", "--json"}, "", result{stdout: `
{"name":"host1","done":"removed"}
`}},
}

func TestChanges(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, tt := range changes {
		r.env.stdin = strings.NewReader(tt.stdin)
		r.check(t, tt.name, tt.want, tt.args...)
	}
}

func TestFaultsOfAReload(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.reload = fmt.Errorf("%w: f:2:3: channels[0].tries = 0: must be at least 1\nf:4:5: hosts: unknown key", dbusapi.ErrConfig)
	r.ipmbctl(t, "reload").want(t, 6, `
ipmbctl: the configuration is wrong: f:2:3: channels[0].tries = 0: must be at least 1
f:4:5: hosts: unknown key
`)
}

func TestChangesAreRoots(t *testing.T) {
	r := newRig(t, denying(t, "xyz.openbmc_project.Ipmi.Channel.Ipmb.Manager"))
	for _, args := range [][]string{{"add", "{}"}, {"remove", "bus0"}, {"reload"}} {
		r.ipmbctl(t, args...).want(t, 8, `
ipmbctl: you may not do this
  do it as root: members of the group ipmbd may not change what ipmbd serves
`)
	}
}

// What a command has done, or has read, it shows before the error of what it reads next.
func TestWhatIsKnownIsShownBeforeAnError(t *testing.T) {
	for _, tt := range []struct {
		denied, args, text, document string
	}{
		{"org.freedesktop.DBus.Properties", "bind bus0", "bus0 is bound\n", `{"name":"bus0","done":"bound"}`},
		{"org.freedesktop.DBus.Properties", "unbind bus0", "bus0 is unbound\n", `{"name":"bus0","done":"unbound"}`},
		{"org.freedesktop.DBus.Properties", `add {"name":"bus7"}`, "bus7 is added\n", `{"name":"bus7","done":"added"}`},
		{"org.freedesktop.DBus.ObjectManager", "reload", "the configuration is reloaded\n", `{"name":"the configuration","done":"reloaded"}`},
		{"org.freedesktop.DBus.ObjectManager", "handlers", "OWNER", `"owner":`},
	} {
		for _, want := range []string{tt.text, tt.document} {
			r := newRig(t, denying(t, tt.denied))
			if strings.HasPrefix(tt.args, "handlers") {
				r.begin(t, 1, "respond", "0x30", "1")
			}
			args := strings.Fields(tt.args)
			if want == tt.document {
				args = append(args, "--json")
			}
			if got := r.ipmbctl(t, args...); !strings.Contains(got.stdout, want) || got.code != exitNoPermission || got.stderr == "" {
				t.Errorf("%v: %+v, want %q", args, got, want)
			}
		}
	}
}
