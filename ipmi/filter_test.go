package ipmi

import (
	"errors"
	"strings"
	"testing"
)

func TestFilterDeniesBeforeTheHandler(t *testing.T) {
	deviceID := Commands{NetFnApp, CommandGetDeviceID}
	coldReset := Commands{NetFnApp, 0x02}
	app, chassis := Commands{NetFnApp, AnyCommand}, Commands{NetFnChassis, AnyCommand}
	for _, tt := range []struct {
		name        string
		allow, deny []Commands
		netFn       NetFn
		command     Command
		denied      bool
	}{
		{"no lists", nil, nil, NetFnChassis, 0x02, false},
		{"denied command", nil, []Commands{coldReset}, NetFnApp, 0x02, true},
		{"another command of its netFn", nil, []Commands{coldReset}, NetFnApp, 0x01, false},
		{"denied netFn", nil, []Commands{chassis}, NetFnChassis, 0x02, true},
		{"allowed command", []Commands{deviceID}, nil, NetFnApp, 0x01, false},
		{"not among the allowed", []Commands{deviceID}, nil, NetFnApp, 0x02, true},
		{"allowed netFn", []Commands{app}, nil, NetFnApp, 0x02, false},
		{"allowed netFn, denied command", []Commands{app}, []Commands{coldReset}, NetFnApp, 0x02, true},
		{"allowed and denied alike", []Commands{deviceID}, []Commands{deviceID}, NetFnApp, 0x01, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &Filter{Allow: tt.allow, Deny: tt.deny, Next: answering(0x55)}
			response, err := Do(t.Context(), f, &Request{NetFn: tt.netFn, Command: tt.command})
			if denied := errors.Is(err, ErrDenied); denied != tt.denied || denied == (response.Code == 0x55) {
				t.Errorf("got %v, %v", response, err)
			}
		})
	}
}

func TestParseCommands(t *testing.T) {
	for text, want := range map[string]Commands{
		"chassis":           {NetFnChassis, AnyCommand},
		"app cold-reset":    {NetFnApp, 0x02},
		"0x30 01h":          {0x30, 0x01},
		"6 0x34":            {NetFnApp, 0x34},
		"Storage Clear-SEL": {NetFnStorage, 0x47},
	} {
		if got, err := ParseCommands(strings.Fields(text)); got != want || err != nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"chasis", "app cold-rest", "0x31", "app 0x100"} {
		if got, err := ParseCommands(strings.Fields(text)); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestCommandsInWords(t *testing.T) {
	for want, c := range map[string]Commands{
		"chassis":        {NetFnChassis, AnyCommand},
		"app cold-reset": {NetFnApp, 0x02},
		"30h 01h":        {0x30, 0x01},
	} {
		if got := c.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
