package i2cbus

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/i2c"
)

func TestWritesTellTheState(t *testing.T) {
	const up, degraded = bus.Up, bus.Degraded
	stuck := &i2c.OpError{Op: "write", Device: "/dev/ipmb-5", Kind: i2c.ErrStuck}
	nack, lost, closed := i2c.ErrNotAcknowledged, i2c.ErrArbitrationLost, i2c.ErrClosed
	tests := []struct {
		name   string
		writes []error
		want   []bus.State // told
	}{
		{"all is well", []error{nil, nil}, nil},
		{"stuck now and then", []error{stuck, stuck, stuck, nil, stuck, stuck, stuck}, nil},
		{"stuck", []error{stuck, stuck, stuck, stuck, stuck, stuck}, []bus.State{degraded}},
		{"stuck and well again", []error{stuck, stuck, stuck, stuck, nil, nil}, []bus.State{degraded, up}},
		{"nobody acknowledges", []error{nack, nack, nack, nack, nack}, nil},
		{"stuck, then nobody acknowledges", []error{stuck, stuck, stuck, stuck, nack}, []bus.State{degraded, up}},
		{"another master", []error{lost, lost, lost, lost, lost}, nil},
		{"stuck, then closed", []error{stuck, stuck, stuck, stuck, closed}, []bus.State{degraded}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLine()
			b, told := onLine(l)
			b.Open(t.Context())
			told.states()
			for _, result := range test.writes {
				b.Wrote(result)
			}
			if diff := cmp.Diff(test.want, told.states()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
