package bus

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// driver is what blocks in the tests of Workers.
type driver struct {
	mu      sync.Mutex
	entered []byte
	answer  chan struct{} // each value lets one be answered
}

func (d *driver) exchange(ctx context.Context, req ipmb.Request, sent func()) (ipmi.Response, error) {
	d.mu.Lock()
	d.entered = append(d.entered, req.Data...)
	d.mu.Unlock()
	sent()
	select {
	case <-d.answer:
		return ipmi.Response{Data: req.Data}, nil
	case <-ctx.Done():
		return ipmi.Response{}, ctx.Err()
	}
}

// workersLink is a Link of Workers.
type workersLink struct {
	Link
	*Workers
}

func (l workersLink) Send(c *Call, req *ipmb.Request) error { return l.Workers.Send(c, req) }
func (l workersLink) Cancel(c *Call)                        { l.Workers.Cancel(c) }

func TestWorkersKeepTheOrder(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for range 100 {
			d := &driver{answer: make(chan struct{})}
			w := NewWorkers(0, d.exchange)
			b := New(Config{}, workersLink{Workers: w})
			b.Begin()
			const burst = 100 // more than there are workers
			ended := make(chan error, burst)
			for i := range burst {
				req := request(i)
				err := b.Send(NewCall(nil, func(_ ipmi.Response, err error) { ended <- err }), &req)
				if err != nil {
					t.Fatal(err)
				}
				req.Data[0] = 0xFF
			}
			for range burst {
				d.answer <- struct{}{}
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			}
			w.Wait()
			if !bytes.Equal(d.entered, numbers(burst)) {
				t.Fatalf("entered % X", d.entered)
			}
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &driver{answer: make(chan struct{})}
		w := NewWorkers(2, d.exchange)
		b := New(Config{}, workersLink{Workers: w})
		b.Begin()
		ended := make(chan error, 10)
		var calls []*Call
		for i := range 4 {
			c := NewCall(nil, func(_ ipmi.Response, err error) { ended <- err })
			calls = append(calls, c)
			req := request(i)
			if err := b.Send(c, &req); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !bytes.Equal(d.entered, numbers(2)) {
			t.Errorf("entered % X", d.entered)
		}
		hasty := request(9)
		hasty.NoWait = true
		if err := b.Send(NewCall(nil, nil), &hasty); !errors.Is(err, ipmb.ErrBusy) {
			t.Error(err)
		}
		if err := b.Send(NewCall(nil, nil), new(ipmb.Request)); !errors.Is(err, ipmb.ErrInvalid) {
			t.Error(err)
		}
		for _, c := range []*Call{calls[2], calls[0]} { // waits, and is in the driver
			c.Cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		calls[0].Cancel() // has ended
		accepted := false
		calls[3].accepted = func() { accepted = true }
		for range 2 {
			d.answer <- struct{}{}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		w.Wait()
		if !bytes.Equal(d.entered, []byte{0, 1, 3}) || !accepted {
			t.Errorf("entered % X, accepted %v", d.entered, accepted)
		}
	})
}

func TestNothingIsSentAfterWait(t *testing.T) {
	d := &driver{answer: make(chan struct{})}
	w := NewWorkers(0, d.exchange)
	b := New(Config{}, workersLink{Workers: w})
	ended := make(chan error, 1)
	req := request(1)
	if err := b.Send(NewCall(nil, func(_ ipmi.Response, err error) { ended <- err }), &req); err != nil {
		t.Fatal(err)
	}
	w.Wait()
	b.Begin() // The bus ends as it has not begun before.
	if err := <-ended; !errors.Is(err, ipmb.ErrClosed) || len(d.entered) > 0 {
		t.Errorf("%v, % X has entered the driver", err, d.entered)
	}
}
