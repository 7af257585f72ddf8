package inside

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// driverUser starts a daemon whose channel is the kernel's driver, /dev/ipmi0.
func driverUser(t *testing.T, host map[string]any) *daemon {
	t.Helper()
	host["type"], host["path"] = "openipmi", "/dev/ipmi0"
	d := launchConfig(t, map[string]any{"channels": []channel{}, "hosts": []any{host}})
	d.tells(t, " up")
	return d
}

// TestDriverIsAChannel: one daemon is on the bus itself, the other behind the
// kernel's driver. Each asks the other one.
func TestDriverIsAChannel(t *testing.T) {
	onBus := kernelPeer(t)
	behind := driverUser(t, map[string]any{"commands": []string{"0x30 0x55"}, "handler": "host"})
	serves(t, behind, 0x77)

	t.Run("the controller is asked", func(t *testing.T) {
		for _, to := range []ipmi.Address{0, bmcAddress} {
			answer, err := behind.Send(t.Context(), "ipmi0", ipmb.Request{Responder: to, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
			if err != nil || answer.Code != ipmi.CodeOK || !bytes.Equal(answer.Data, deviceID) {
				t.Errorf("%v: %v % X, %v", to, answer.Code, answer.Data, err)
			}
		}
		if out := behind.ipmbctl(t, "send", "ipmi0", "app", "get-device-id"); !strings.Contains(out, "2832") {
			t.Errorf("ipmbctl printed:\n%s", out)
		}
	})
	t.Run("a registered handler answers", func(t *testing.T) {
		for i := range byte(20) {
			data := []byte{i, 0x5A}
			eventually(t, func() string { // until it is registered
				return answers(t, onBus, ipmb.Request{NetFn: echo, Command: 0x77, Data: data}, ipmi.Response{Data: data})
			})
		}
	})
	for name, c := range map[string]struct {
		command ipmi.Command
		data    []byte
		want    ipmi.Response
	}{
		"the default answers":                   {0x55, []byte{1, 2}, ipmi.Response{Data: []byte{1, 2}}},
		"the driver answers for nobody":         {0x78, nil, ipmi.Response{Code: ipmi.CodeInvalidCommand}},
		"an answer as long as it may be":        {0x77, make([]byte, 25), ipmi.Response{Data: make([]byte, 25)}},
		"an answer that the driver cannot send": {0x76, make([]byte, 25), ipmi.Response{Code: ipmi.CodeNoResponse}},
	} {
		t.Run(name, func(t *testing.T) {
			if lacks := answers(t, onBus, ipmb.Request{NetFn: echo, Command: c.command, Data: c.data}, c.want); lacks != "" {
				t.Error(lacks)
			}
		})
	}
	t.Run("requests both ways at once", func(t *testing.T) {
		// While the driver waits for an answer it sends none.
		patient := ipmb.RetryPolicy{Tries: busyTries}
		var both sync.WaitGroup
		both.Go(func() {
			for i := range byte(20) {
				r := ipmb.Request{NetFn: echo, Command: 0x77, Data: []byte{i}, RetryPolicy: patient}
				if lacks := answers(t, onBus, r, ipmi.Response{Data: []byte{i}}); lacks != "" {
					t.Error(lacks)
				}
			}
		})
		for i := range byte(20) {
			answer, err := behind.Send(t.Context(), "ipmi0", ipmb.Request{NetFn: echo, Command: 1, Data: []byte{i}, RetryPolicy: patient})
			if err != nil || answer.Code != ipmi.CodeOK || !bytes.Equal(answer.Data, []byte{i}) {
				t.Errorf("%v % X, %v", answer.Code, answer.Data, err)
			}
		}
		both.Wait()
	})
	t.Run("a node is asked directly, and nobody is there", func(t *testing.T) {
		const nobody ipmi.Address = 0x60
		answer, err := behind.Send(t.Context(), "ipmi0", ipmb.Request{Responder: nobody, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
		if err != nil || answer.Code != 0x82 {
			t.Errorf("%v, %v", answer.Code, err)
		}
	})
	t.Run("a broadcast", func(t *testing.T) {
		_, err := behind.Send(t.Context(), "ipmi0", ipmb.Request{Responder: 0x60, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID, GeneralCall: true})
		if !errors.Is(err, ipmb.ErrUnsupported) {
			t.Error(err)
		}
	})
}

// answers says what is wrong with the answer to a request to the kernel's address.
func answers(t *testing.T, d *daemon, r ipmb.Request, want ipmi.Response) (lacks string) {
	t.Helper()
	answer, err := d.Send(t.Context(), "bus", r)
	switch {
	case err != nil:
		return err.Error()
	case answer.Code != want.Code || !bytes.Equal(answer.Data, want.Data):
		return "an answer other than " + answer.Code.String()
	}
	return ""
}

// serves answers a command with its data until the test ends, and the command before
// it with a byte more.
func serves(t *testing.T, d *daemon, cmd ipmi.Command) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var serving sync.WaitGroup
	var patterns []ipmi.Pattern
	for _, c := range []ipmi.Command{cmd - 1, cmd} {
		patterns = append(patterns, ipmi.Pattern{Channels: ipmi.AllChannels, NetFn: echo, Command: c, Group: ipmi.AnyGroup})
	}
	handler := ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Data: append(bytes.Clone(req.Data), make([]byte, cmd-req.Command)...)}, nil
	})
	serving.Go(func() {
		if err := d.Serve(ctx, patterns, handler, func(client.Notice) {}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); serving.Wait() })
}
