package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// guestVariable names the folder that test/guest/x86/build has made.
const guestVariable = "IPMBD_TEST_MACHINE"

func TestGuestsAsk(t *testing.T) {
	o := options{ipmbd: buildIPMBD(t), guest: os.Getenv(guestVariable), rounds: 1, quick: true}
	if o.guest == "" {
		t.Skip("this needs virtual machines: make test-guest")
	}
	var out strings.Builder
	if err := measureGuests(t.Context(), o, &out, nil); err != nil {
		t.Fatal(err)
	}
	mustHaveNoChildren(t)
	for _, row := range []string{"KCS", "BT"} {
		if n := strings.Count(out.String(), " "+row+" "); n == 0 {
			t.Errorf("%s is missing", row)
		}
	}
	t.Log("\n" + out.String())
}

func TestWithoutAGuestOneLineSaysSo(t *testing.T) {
	for name, c := range map[string]struct{ path, guest, want string }{
		"no emulator": {t.TempDir(), "folder", "qemu-system-x86_64 is not installed"},
		"no folder":   {executables(t, emulator), "", "test/guest/x86/build"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			var out strings.Builder
			if err := measureGuests(t.Context(), options{guest: c.guest}, &out, nil); err != nil {
				t.Fatal(err)
			}
			if text := out.String(); !strings.Contains(text, "not measured: ") || !strings.Contains(text, c.want) {
				t.Error(text)
			}
		})
	}
}

// executables is a folder with a program of a name.
func executables(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+name, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDrivenIsReadAsItIsPrinted(t *testing.T) {
	want := driven{requests: 1234, p50: 261 * time.Microsecond, p99: time.Millisecond, rate: 3195.25}
	if got, err := parseDriven(want.String()); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "requests 0 p50 1 p99 1 rate 1", "bench: open /dev/ipmi0: no such device"} {
		if d, err := parseDriven(text); err == nil {
			t.Errorf("%q is %v", text, d)
		}
	}
}
