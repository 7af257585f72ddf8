package service

import (
	"context"
	"errors"
	"testing"

	"ipmbd/dbusapi"
	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
	"ipmbd/xml"
)

// TestOpenIPMIOnDBus: a device that is not there is a bus that is Down, by its name and
// by its index.
func TestOpenIPMIOnDBus(t *testing.T) {
	bus := bustest.Start(t)
	said := notifications(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, bus, config.Config{OpenIPMI: []config.OpenIPMI{{
		Path: t.TempDir() + "/ipmi0", DevIndex: 1, Handler: new(config.HandlerSignal), Commands: []ipmi.Commands{{NetFn: 0x30, Command: 1}},
	}}})
	until(t, said, "READY=1\nSTATUS=1 bus, not up: ipmi0 Down")
	ipmbd, err := client.Open(t.Context(), bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer ipmbd.Close()
	info, err := ipmbd.Bus(t.Context(), "ipmi0")
	if err != nil || info.Transport != "openipmi" || info.Index != 6 || info.Handler != "signal" || info.State != client.Down {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := ipmbd.Send(t.Context(), "ipmi0", ipmb.Request{NetFn: ipmi.NetFnApp, Command: 1}); !errors.Is(err, client.ErrUnavailable) {
		t.Error(err)
	}
	const down, unknown = 4, 2
	for index, want := range map[byte]int32{6: down, 2: unknown} {
		reply := struct {
			Status                    int32
			NetFn, LUN, Command, Code byte
			Data                      []byte
		}{}
		err := connect(t, bus).Object(xml.ServiceName, dbusapi.BasePath).
			Call("org.openbmc.Ipmb.sendRequest", 0, index, byte(6), byte(0), byte(1), []byte{}).Store(&reply)
		if err != nil || reply.Status != want {
			t.Errorf("index %d: status %d, %v", index, reply.Status, err)
		}
	}
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Errorf("ended with %v", err)
	}
}
