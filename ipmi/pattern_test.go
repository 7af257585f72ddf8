package ipmi

import (
	"errors"
	"strings"
	"testing"
)

func TestPatternValidate(t *testing.T) {
	const ch0 = ChannelMask(1)
	for _, tt := range []struct {
		name    string
		pattern Pattern
		field   string // "" for a valid one
		text    string
	}{
		{name: "one command", pattern: Pattern{ch0, NetFnApp, 0x01, AnyGroup}},
		{name: "all commands of the last netFn", pattern: Pattern{AllChannels, 0x3E, AnyCommand, AnyGroup}},
		{name: "any group", pattern: Pattern{ch0, NetFnGroup, AnyCommand, AnyGroup}},
		{name: "largest body code", pattern: Pattern{ch0, NetFnGroup, AnyCommand, 0xFF}},
		{name: "largest IANA number", pattern: Pattern{ch0, NetFnOEM, AnyCommand, 0xFFFFFF}},
		{
			name: "odd netFn", pattern: Pattern{ch0, 0x07, 0x01, AnyGroup}, field: "netFn",
			text: "invalid pattern app response get-device-id on channel 0: netFn 07h is odd, that of a response",
		},
		{
			name: "netFn of seven bits", pattern: Pattern{ch0, 0x40, 0x01, AnyGroup}, field: "netFn",
			text: "invalid pattern 40h 01h on channel 0: netFn 40h is larger than 3Eh",
		},
		{
			name: "netFn 3Fh", pattern: Pattern{ch0, 0x3F, 0x01, AnyGroup}, field: "netFn",
			text: "invalid pattern 3Fh 01h on channel 0: netFn 3Fh is larger than 3Eh",
		},
		{
			name: "no channel", pattern: Pattern{0, NetFnApp, 0x01, AnyGroup}, field: "channels",
			text: "invalid pattern app get-device-id on no channel: channels mask is empty",
		},
		{
			name: "group of another netFn", pattern: Pattern{ch0, NetFnApp, 0x01, 0}, field: "group",
			text: "invalid pattern app IANA 0 get-device-id on channel 0: group 0h is not any group, and the netFn has no groups",
		},
		{
			name: "body code of nine bits", pattern: Pattern{ch0, NetFnGroup, 0x01, 0x100}, field: "group",
			text: "invalid pattern group 100h 01h on channel 0: group 100h is larger than a body code, FFh",
		},
		{
			name: "IANA number of 25 bits", pattern: Pattern{ch0, NetFnOEM, 0x01, 0x1000000}, field: "group",
			text: "invalid pattern oem IANA 16777216 01h on channel 0: group 1000000h is larger than an IANA number, FFFFFFh",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.pattern.validate()
			var invalid *PatternError
			switch {
			case tt.field == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.field != "" && !errors.As(err, &invalid):
				t.Errorf("error %v", err)
			case tt.field != "" && (invalid.Field != tt.field || err.Error() != tt.text):
				t.Errorf("field %s\n got %s\nwant %s", invalid.Field, err, tt.text)
			}
		})
	}
}

func TestPatternOverlaps(t *testing.T) {
	base := Pattern{0b11, NetFnOEM, 0x01, 7}
	for _, tt := range []struct {
		name  string
		other Pattern
		want  bool
	}{
		{"itself", base, true},
		{"one channel of two", Pattern{0b10, NetFnOEM, 0x01, 7}, true},
		{"all channels", Pattern{AllChannels, NetFnOEM, 0x01, 7}, true},
		{"all commands", Pattern{0b11, NetFnOEM, AnyCommand, 7}, true},
		{"any group", Pattern{0b11, NetFnOEM, 0x01, AnyGroup}, true},
		{"everything of the netFn", Pattern{AllChannels, NetFnOEM, AnyCommand, AnyGroup}, true},
		{"other channels", Pattern{0b100, NetFnOEM, 0x01, 7}, false},
		{"other netFn", Pattern{0b11, NetFnGroup, 0x01, 7}, false},
		{"other command", Pattern{0b11, NetFnOEM, 0x02, 7}, false},
		{"other group", Pattern{0b11, NetFnOEM, 0x01, 8}, false},
		{"all commands of another group", Pattern{0b11, NetFnOEM, AnyCommand, 8}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if base.overlaps(tt.other) != tt.want || tt.other.overlaps(base) != tt.want {
				t.Errorf("%v and %v: want %t both ways", base, tt.other, tt.want)
			}
		})
	}
}

func TestPatternString(t *testing.T) {
	for want, p := range map[string]Pattern{
		"app get-device-id on all channels":        {AllChannels, NetFnApp, 0x01, AnyGroup},
		"30h all commands on channels 0, 7, 15":    {0x8081, 0x30, AnyCommand, AnyGroup},
		"group DCh 02h on channel 3":               {0x08, NetFnGroup, 0x02, 0xDC},
		"group all commands on channel 0":          {0x01, NetFnGroup, AnyCommand, AnyGroup},
		"oem IANA 40981 all commands on channel 0": {0x01, NetFnOEM, AnyCommand, 40981},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestChannelMaskString(t *testing.T) {
	for m, want := range map[ChannelMask]string{
		AllChannels:           "all channels",
		0xFFFF:                "all channels",
		0:                     "no channel",
		0xFFFF_0000:           "no channel",
		Channel(0xF).Mask():   "channel 15",
		0b101:                 "channels 0, 2",
		0xFFFF_0000 | 1<<0x01: "channel 1",
	} {
		if got := m.String(); got != want {
			t.Errorf("%08Xh: got %q, want %q", uint32(m), got, want)
		}
	}
}

// Channels are numbered in four bits. A mask of others serves nothing, and two
// that share only such bits have no request in common.
func TestChannelsThatThereAreNot(t *testing.T) {
	h := HandlerFunc(nil)
	pattern := func(m ChannelMask) Pattern { return Pattern{Channels: m, NetFn: 6, Command: 1, Group: AnyGroup} }
	if _, err := new(Mux).Register("a", h, pattern(0x1_0000)); err == nil {
		t.Error("a mask without any channel is taken")
	}
	var m Mux
	if _, err := m.Register("a", h, pattern(AllChannels&^1)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Register("b", h, pattern(AllChannels&^0xFFFE)); err != nil {
		t.Errorf("the others are free, and yet: %v", err)
	}
}

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
