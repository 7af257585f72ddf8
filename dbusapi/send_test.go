package dbusapi

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// sender is a bus with an engine, as far as Send can tell.
type sender struct {
	*fakeBus
	err error
}

func (s *sender) Send(*ipmb.Call, *ipmb.Request) error { return s.err }

func TestSendHasTheLimitOfTheBus(t *testing.T) {
	bus := &sender{fakeBus: newFakeBus("bus4", 0), err: ipmb.ErrClosed}
	o := &BusObject{bus: bus, maxCalls: 2}
	call := ipmb.NewCall(func(ipmi.Response, error) {})
	send := func() error { return o.Send(call, &ipmb.Request{Responder: 0x2C}) }
	for range 3 { // What is not sent takes no room.
		if err := send(); !errors.Is(err, ipmb.ErrClosed) {
			t.Fatal(err)
		}
	}
	bus.err = nil
	if err := errors.Join(send(), o.enter()); err != nil {
		t.Fatal(err)
	}
	if err := send(); !errors.Is(err, ipmb.ErrBusy) {
		t.Errorf("a third one: %v", err)
	}
	o.Ended()
	if err := send(); err != nil {
		t.Errorf("after an end: %v", err)
	}
	if o.refused.Load() != 0 {
		t.Error("it is counted as a call on D-Bus")
	}
	if err := o.Send(call, &ipmb.Request{}); !errors.Is(err, ipmb.ErrInvalid) {
		t.Errorf("no responder: %v", err)
	}
}

func TestSendOnABusWithoutAnEngine(t *testing.T) {
	r := newRig(t, Config{})
	o := r.server.Channel(0)
	type ending struct {
		data []byte
		err  error
	}
	ended := make(chan ending, 1)
	call := ipmb.NewCall(func(r ipmi.Response, err error) {
		o.Ended()
		ended <- ending{r.Data, err}
	})
	if err := o.Send(call, &ipmb.Request{Responder: 0x2C, Command: 1}); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got.err != nil || !bytes.Equal(got.data, deviceID) {
		t.Errorf("%+v", got)
	}
	if err := o.Send(call, &ipmb.Request{Responder: 0x2C, Command: cmdBlock}); err != nil {
		t.Fatal(err)
	}
	call.Cancel()
	if got := <-ended; !errors.Is(got.err, context.Canceled) {
		t.Errorf("%+v", got)
	}
	if n := o.inProgress.Load(); n != 0 {
		t.Errorf("%d calls are counted still", n)
	}
	if r.server.Channel(200) != nil {
		t.Error("a bus that is not there")
	}
}

func TestOtherStatisticsAreShown(t *testing.T) {
	r := newRig(t, Config{Statistics: func() map[string]uint64 { return map[string]uint64{"frame-requests": 7} }})
	if got := r.server.Statistics(); got["frame-requests"] != 7 || len(got) < 2 {
		t.Errorf("%v", got)
	}
}
