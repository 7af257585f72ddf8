package ipmb_test

import (
	"context"
	"fmt"
	"testing"

	"ipmbd/ipmb"
)

func TestStatusOf(t *testing.T) {
	for want, errs := range map[ipmb.Status][]error{
		ipmb.StatusOK:      {nil},
		ipmb.StatusTooLong: {ipmb.ErrTooLong},
		ipmb.StatusInvalid: {ipmb.ErrInvalid},
		ipmb.StatusBusy:    {ipmb.ErrBusy},
		ipmb.StatusFailed: {ipmb.ErrTimeout, ipmb.ErrNotAcknowledged, ipmb.ErrArbitrationLost, ipmb.ErrStuck, ipmb.ErrClosed,
			ipmb.ErrUnsupported, context.Canceled},
	} {
		for _, err := range errs {
			if err != nil {
				err = fmt.Errorf("bus4: %w", err)
			}
			if got := ipmb.StatusOf(err); got != want {
				t.Errorf("%v: status %d, want %d", err, got, want)
			}
		}
		if want.String() == ipmb.Status(-1).String() {
			t.Errorf("status %d has no text", want)
		}
	}
	if got, beyond := ipmb.Status(-1).String(), ipmb.Status(5).String(); got != beyond {
		t.Errorf("%q, %q", got, beyond)
	}
}
