package client

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

func TestClientListsHandlersInOrder(t *testing.T) {
	r := newRig(t)
	client := openClient(t, r.bus.Address)
	if got, err := client.Handlers(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
	first, second := r.program, dial(t, r.bus, dbuswire.Config{})
	register(t, first, "/b", appCommand(1), commandRow{0x2E, 0xFF, 343, 5})
	register(t, second, "/b", appCommand(3))
	register(t, first, "/a", commandRow{0x2C, 1, 0xDC, uint32(ipmi.AllChannels)})

	app := func(cmd ipmi.Command) ipmi.Pattern {
		return ipmi.Pattern{NetFn: 6, Command: cmd, Group: ipmi.AnyGroup, Channels: ipmi.AllChannels}
	}
	pid := uint32(os.Getpid())
	want := []Handler{
		{Owner: first.Name(), Process: pid, Path: "/b", Patterns: []ipmi.Pattern{
			app(1), {NetFn: 0x2E, Command: ipmi.AnyCommand, Group: 343, Channels: 5}}},
		{Owner: second.Name(), Process: pid, Path: "/b", Patterns: []ipmi.Pattern{app(3)}},
		{Owner: first.Name(), Process: pid, Path: "/a", Patterns: []ipmi.Pattern{
			{NetFn: 0x2C, Command: 1, Group: 0xDC, Channels: ipmi.AllChannels}}},
	}
	got, err := client.Handlers(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
