package dbusapi

import (
	"errors"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestSendHasTheLimitOfTheBus(t *testing.T) {
	o := &BusObject{bus: newFakeBus("bus4", 0), maxCalls: 2}
	o.bus.(*fakeBus).errs[2] = ipmb.ErrClosed
	call := ipmb.NewCall(func(ipmi.Response, error) {})
	send := func(cmd ipmi.Command) error { return o.Send(call, &ipmb.Request{Command: cmd}) }
	for range 3 { // What is not sent takes no room.
		if err := send(2); !errors.Is(err, ipmb.ErrClosed) {
			t.Fatal(err)
		}
	}
	if err := errors.Join(send(1), o.enter()); err != nil {
		t.Fatal(err)
	}
	if err := send(1); !errors.Is(err, ipmb.ErrBusy) {
		t.Errorf("a third one: %v", err)
	}
	o.Ended()
	if err := send(1); err != nil {
		t.Errorf("after an end: %v", err)
	}
	if o.refused.Load() != 0 {
		t.Error("it is counted as a call on D-Bus")
	}
}

func TestOtherStatisticsAreShown(t *testing.T) {
	r := newRig(t, Config{Statistics: func() map[string]uint64 { return map[string]uint64{"frame-requests": 7} }})
	if got := r.server.Statistics(); got["frame-requests"] != 7 || len(got) < 2 {
		t.Errorf("%v", got)
	}
}
