package record_test

import (
	"context"
	"testing"

	"ipmbd/bmc"
	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// The built-in BMC's log is one that can be read.
func TestOurOwnLog(t *testing.T) {
	b, err := bmc.Open(bmc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		e := ipmi.Event{Generator: 0x2C, Message: [7]byte{4, 1, byte(n), 1, 0x57, 0x60, 0x5F}}
		if err := b.Log().Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	l := record.New(func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
		return ipmi.Do(ctx, b, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: cmd, Data: data})
	})
	records, err := l.Records(t.Context(), func(int) {})
	if err != nil || len(records) != 40 || records[39][11] != 39 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if n, err := l.Clear(t.Context()); n != 40 || err != nil {
		t.Error(n, err)
	}
	if info, err := l.Info(t.Context()); err != nil || info.Records != 0 || info.VersionText() != "1.5" || info.Erased == record.NoTime {
		t.Errorf("%+v, %v", info, err)
	}
}
