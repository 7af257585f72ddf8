package dbusapi

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	dbusclient "ipmbd/dbusapi/client"
	"ipmbd/ipmi"
)

func TestStorageRequests(t *testing.T) {
	r := newRouterRig(t)
	c := openClient(t, r.bus.Address)
	if _, err := c.SendStorage(t.Context(), 0x40, nil); !errors.Is(err, dbusclient.ErrUnavailable) {
		t.Errorf("before there is a handler: %v", err)
	}
	var got ipmi.Request
	r.server.ServeStorage(ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		got = *req
		switch req.Command {
		case 0x40:
			return ipmi.Response{Data: []byte{1, 2, 3}}, nil
		case 0x41:
			return ipmi.Response{Code: ipmi.CodeNotPresent}, nil
		}
		return ipmi.Response{}, ipmi.ErrNoHandler
	}))
	answer, err := c.SendStorage(t.Context(), 0x40, []byte{7, 8})
	if diff := cmp.Diff(ipmi.Response{Data: []byte{1, 2, 3}}, answer); diff != "" || err != nil {
		t.Error(err, diff)
	}
	want := ipmi.Request{Channel: ipmi.ChannelSystemInterface, NetFn: ipmi.NetFnStorage, Command: 0x40, Data: []byte{7, 8}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	answer, err = c.SendStorage(t.Context(), 0x41, nil)
	if diff := cmp.Diff(ipmi.Response{Code: ipmi.CodeNotPresent, Data: []byte{}}, answer); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := c.SendStorage(t.Context(), 0x42, nil); err == nil || err.Error() != "nobody serves this command" {
		t.Error(err)
	}
}
