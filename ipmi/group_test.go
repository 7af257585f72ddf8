package ipmi

import "testing"

func TestRequestGroup(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  Request
		want uint32
	}{
		{"DCMI", Request{NetFn: NetFnGroup, Data: []byte{0xDC, 0x01}}, 0xDC},
		{"body code alone", Request{NetFn: NetFnGroup, Data: []byte{0x00}}, 0x00},
		{"no body code", Request{NetFn: NetFnGroup}, AnyGroup},
		{"IANA number", Request{NetFn: NetFnOEM, Data: []byte{0x57, 0x01, 0x02, 0xFF}}, 0x020157},
		{"IANA number alone", Request{NetFn: NetFnOEM, Data: []byte{0x15, 0xA0, 0x00}}, 0x00A015},
		{"two bytes of an IANA number", Request{NetFn: NetFnOEM, Data: []byte{0x57, 0x01}}, AnyGroup},
		{"netFn without groups", Request{NetFn: NetFnApp, Data: []byte{1, 2, 3}}, AnyGroup},
		{"controller-specific OEM netFn", Request{NetFn: 0x30, Data: []byte{1, 2, 3}}, AnyGroup},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.req.Group(); got != tt.want {
				t.Errorf("got %Xh, want %Xh", got, tt.want)
			}
		})
	}
}
