package ipmi

import (
	"fmt"
	"strings"
	"testing"
)

func TestCompletionCodeString(t *testing.T) {
	for code, want := range map[CompletionCode]string{
		CodeOK:                  "00h ok",
		0x01:                    "01h device-specific (OEM) code",
		0x7E:                    "7Eh device-specific (OEM) code",
		0x7F:                    "7Fh reserved",
		0x80:                    "80h command-specific code",
		0xBE:                    "BEh command-specific code",
		0xBF:                    "BFh reserved",
		CodeInvalidCommand:      "C1h invalid command",
		CodeTimeout:             "C3h timeout while processing the command",
		CodeSubFunctionDisabled: "D6h sub-function disabled or unavailable",
		0xD7:                    "D7h reserved",
		0xFE:                    "FEh reserved",
		CodeUnspecified:         "FFh unspecified error",
	} {
		if got := code.String(); got != want {
			t.Errorf("%02Xh: got %q, want %q", uint8(code), got, want)
		}
	}
}

func TestEveryCompletionCodeHasAMeaning(t *testing.T) {
	for c := range 256 {
		code := CompletionCode(c)
		meaning := code.Meaning(NetFnApp, CommandGetDeviceID)
		if meaning == "" || code.String() != fmt.Sprintf("%02Xh %s", c, meaning) {
			t.Errorf("%02Xh: String %q, Meaning %q", c, code, meaning)
		}
		// D7h to FEh are the only reserved codes above C0h.
		if reserved := meaning == "reserved"; c >= 0xC0 && reserved != (c > 0xD6 && c < 0xFF) {
			t.Errorf("%02Xh is %q", c, meaning)
		}
	}
}

func TestCompletionCodeMeaning(t *testing.T) {
	for _, tt := range []struct {
		name  string
		code  CompletionCode
		netFn NetFn
		cmd   Command
		want  string
	}{
		{"send message to a session that is gone", 0x80, NetFnApp, 0x34, "invalid session handle"},
		{"send message after lost arbitration", 0x81, NetFnApp, 0x34, "lost arbitration"},
		{"send message after a bus error", 0x82, NetFnApp, 0x34, "bus error"},
		{"send message without acknowledge", 0x83, NetFnApp, 0x34, "NAK on write"},
		{"netFn of the response", 0x83, NetFnApp.Response(), 0x34, "NAK on write"},
		{"get message from an empty queue", 0x80, NetFnApp, 0x33, "queue or buffer empty"},
		{"reset watchdog before set", 0x80, NetFnApp, 0x22, "watchdog not initialized"},
		{"reserve SEL during erase", 0x81, NetFnStorage, 0x42, "SEL erase in progress"},
		{"code the command does not define", 0x84, NetFnApp, 0x34, "command-specific code"},
		{"generic code of a command with its own", 0xC1, NetFnApp, 0x34, "invalid command"},
		{"same number, other netFn", 0x83, NetFnStorage, 0x34, "command-specific code"},
		{"OEM command", 0x80, 0x30, 0x34, "command-specific code"},
		{"write-only LAN parameter", 0x83, NetFnTransport, 0x01, "parameter is write-only"},
		{"boot options have no such code", 0x83, NetFnChassis, 0x08, "command-specific code"},
		{"system info has no such code", 0x83, NetFnApp, 0x58, "command-specific code"},
		{"sub-function enables", 0x80, NetFnApp, 0x63, "command or sub-function cannot be configured"},
		{"configurable sub-functions have no code", 0x80, NetFnApp, 0x0D, "command-specific code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.code.Meaning(tt.netFn, tt.cmd); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCommandMeaningsAreOfStandardCommands(t *testing.T) {
	for n := range NetFn(len(standardCommands)) {
		for cmd, c := range standardCommands[n] {
			if c.name == "" && (c.effect != EffectUnknown || c.meanings != nil) {
				t.Errorf("%v %02Xh has no name", n, cmd)
			}
			for code, meaning := range c.meanings {
				if code < firstCommandCode || code > lastCommandCode || strings.TrimSpace(meaning) == "" {
					t.Errorf("%v %s: code %02Xh is %q", n, c.name, uint8(code), meaning)
				}
			}
		}
	}
}
