package host

import (
	"bytes"
	"fmt"
	"testing"

	"ipmbd/ipmi"
)

// TestCapabilities asks each kind of interface for the limits of each kind, with each value of the
// byte, on each LUN and with wrong lengths.
func TestCapabilities(t *testing.T) {
	elsewhere := []byte{0xE1} // the next handler's response
	next := ipmi.HandlerFunc(func(_ *ipmi.Request, reply ipmi.Reply) { reply.Answer(ipmi.Response{Data: elsewhere}, nil) })
	for _, kind := range []struct {
		name   string
		kind   Kind
		number int // in Get System Interface Capabilities
		system string
		bt     string
	}{
		{"ssif", KindSSIF, 0, "00 0080FEFE", "C1 "},
		{"kcs", KindKCS, 1, "00 0000FF", "C1 "},
		{"vm", KindVM, 1, "00 0000FF", "C1 "},
		{"bt", KindBT, -1, "", "00 01FFFF0501"},
	} {
		asks := func(lun ipmi.LUN, command ipmi.Command, data ...byte) string {
			request := &ipmi.Request{NetFn: ipmi.NetFnApp, LUN: lun, Command: command, Data: data}
			response, err := ipmi.Do(t.Context(), kind.kind.Handler(next), request)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%02X %X", uint8(response.Code), response.Data)
		}
		is := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s: %s, want %s", kind.name, what, got, want)
			}
		}
		for number := range 256 {
			want := "CC "
			if number == kind.number {
				want = kind.system
			}
			is(fmt.Sprintf("system interface %02Xh", number), asks(0, 0x57, byte(number)), want)
		}
		is("BT", asks(0, 0x36), kind.bt)
		is("no interface", asks(0, 0x57), "C7 ")
		is("two interfaces", asks(0, 0x57, 0, 1), "C7 ")
		if kind.number < 0 {
			is("BT with data", asks(0, 0x36, 0), "C7 ")
		}
		for lun := ipmi.LUN(1); lun <= ipmi.MaxLUN; lun++ {
			is("another LUN", asks(lun, 0x57, 0), "00 E1")
			is("another LUN", asks(lun, 0x36), "00 E1")
		}
		is("another command", asks(0, 0x01), "00 E1")
	}
}

// TestCapabilitiesAreKept: the longest messages that an interface promises pass through its Port.
func TestCapabilitiesAreKept(t *testing.T) {
	p, driver := openSSIF(t)
	most := bytes.Repeat([]byte{0xA5}, int(KindSSIF.limits[2])-ssifMinPayload)
	driver.asks(0, 0x18, 0x01, most...)
	if req, err := p.Read(); err != nil || !bytes.Equal(req.Data, most) {
		t.Errorf("%d bytes, %v", len(req.Data), err)
	}
	answer := bytes.Repeat([]byte{0x5A}, int(KindSSIF.limits[3])-3)
	if _, err := p.Write(Response{NetFn: ipmi.NetFnApp.Response(), Data: answer}); err != nil {
		t.Error(err)
	}
}
