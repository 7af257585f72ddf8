package host

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// units returns the units that a decoder finds in bytes: commands and messages, in hex.
func units(b []byte) (units []string) {
	var d vmDecoder
	for _, c := range b {
		if u, ok := d.next(c); ok {
			kind := "message "
			if u.command {
				kind = "command "
			}
			units = append(units, kind+strings.ToUpper(hex.EncodeToString(u.bytes)))
		}
	}
	return units
}

func TestVMDecoder(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		want []string
	}{
		{"get device id", "01 18 01 E6 A0", []string{"message 011801E6"}},
		{"escaped bytes", "AA B0 18 25 23 A0", []string{"message A0182523"}},
		{"every special byte", "AA B0 AA B1 AA BA A0", []string{"message A0A1AA"}},
		{"capabilities", "FF 01 A1 08 3F A1", []string{"command FF01", "command 083F"}},
		{"nothing", "A0 A1 A0", nil},
		{"an escape of the end", "01 AA A0 08 3F A1", []string{"command 083F"}},
		{"an escape of an escape", "01 AA AA BA A0 08 3F A1", []string{"command 083F"}},
		{"two messages at once", "01 02 A0 03 A0", []string{"message 0102", "message 03"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, units(octets(c.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVMUnitThatIsTooLongIsDropped(t *testing.T) {
	in := append(bytes.Repeat([]byte{1}, vmMaxUnit+1), octets("A0 08 3F A1")...)
	if diff := cmp.Diff([]string{"command 083F"}, units(in)); diff != "" {
		t.Error(diff)
	}
}

func TestVMRequests(t *testing.T) {
	got, ok := parseVMRequest(octets("02 19 31 11 22 81"))
	want := Request{Tag: 2, NetFn: ipmi.NetFnApp, LUN: 1, Command: 0x31, Data: []byte{0x11, 0x22}}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v: %s", ok, diff)
	}
	for name, text := range map[string]string{
		"checksum wrong": "01 18 01 E7",
		"too short":      "01 18 E7",
		"a response":     "01 1C 01 E2",
	} {
		if got, ok := parseVMRequest(octets(text)); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestVMResponses(t *testing.T) {
	r := Response{Tag: 1, NetFn: 7, Command: 1, Data: octets("50 01 04 00 02 21 57 01 00 0B 0B")}
	if got := appendVMResponse(nil, r); !bytes.Equal(got, octets("01 1C 01 00 50 01 04 00 02 21 57 01 00 0B 0B FC A0")) {
		t.Errorf("% X", got)
	}
	r = Response{Tag: 0xA0, NetFn: 7, Command: 0xAA, Code: 0xC1, Data: []byte{0xA1}}
	if got := appendVMResponse(nil, r); !bytes.Equal(got, octets("AA B0 1C AA BA C1 AA B1 38 A0")) {
		t.Errorf("% X", got)
	}
}

// Any bytes are decoded without harm, and a request among them has a right checksum.
func FuzzVMDecoder(f *testing.F) {
	for _, seed := range []string{"01 18 01 E6 A0", "AA B0 18 25 23 A0", "FF 01 A1 08 3F A1", "AA AA A0 A1"} {
		f.Add(octets(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d vmDecoder
		for _, c := range b {
			u, ok := d.next(c)
			if !ok || u.command {
				continue
			}
			if len(u.bytes) > vmMaxUnit {
				t.Fatalf("%d bytes", len(u.bytes))
			}
			if req, ok := parseVMRequest(u.bytes); ok && (req.NetFn.IsResponse() || vmSum(u.bytes) != 0) {
				t.Errorf("% X is a request", u.bytes)
			}
		}
	})
}

// The greeting goes with the first attention, even after earlier writes.
func TestGreetingOfAMachineThatHasAnAnswerAlready(t *testing.T) {
	ours, theirs := socketPair(t)
	p, err := NewVMPort(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := errors.Join(write(p, answered(1, 0)), p.SetAttention(ipmi.Attention{}), p.SetAttention(ipmi.Attention{Raised: true})); err != nil {
		t.Fatal(err)
	}
	(&machine{t, theirs}).hears("01 1C 01 00 E2 A0 FF 01 A1 00 A1 01 A1")
}

// socketPair is a connection and its other end.
func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	listener, err := Listen(t.Context(), "unix:"+filepath.Join(t.TempDir(), "vm"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	theirs, err = net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	if ours, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}
