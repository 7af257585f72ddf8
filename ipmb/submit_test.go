package ipmb_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// decoder is a transport whose driver decodes requests: they come without frames.
type decoder struct {
	engine   *ipmb.Engine
	requests chan ipmi.Request
	closed   chan struct{}

	mu      sync.Mutex
	refuse  error // of responses
	answers []string
}

func (d *decoder) ReadFrames(*i2c.Batch) error {
	for {
		select {
		case req := <-d.requests:
			d.engine.Submit(&req, func(response []byte) error {
				d.mu.Lock()
				defer d.mu.Unlock()
				if d.refuse != nil {
					return d.refuse
				}
				d.answers = append(d.answers, fmt.Sprintf("%v %d: % X", req.Requester, req.Sequence, response))
				return nil
			})
			clear(req.Data) // which is the driver's
		case <-d.closed:
			return i2c.ErrClosed
		}
	}
}

func (d *decoder) WriteFrame([]byte) error { panic("a frame") }
func (d *decoder) Limits() i2c.Limits      { return i2c.Limits{MaxFrame: 20} }
func (d *decoder) Close() error            { close(d.closed); return nil }

// asks is a request, and the answers that came meanwhile.
func (d *decoder) asks(from ipmi.Address, sequence uint8, cmd ipmi.Command, data ...byte) []string {
	d.answered()
	d.requests <- ipmi.Request{Requester: from, Sequence: sequence, NetFn: 0x30, LUN: 1, Command: cmd, Data: data}
	return d.answered()
}

// answered returns the answers since its last call.
func (d *decoder) answered() (answers []string) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	answers, d.answers = d.answers, nil
	return answers
}

// refuses has all responses refused with an error, or none with nil.
func (d *decoder) refuses(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = err
}

func TestSubmittedRequestsRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		var last ipmi.Request
		handler := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
			runs++
			last = *req
			data := append([]byte{byte(runs)}, req.Data...)
			switch req.Command {
			case 2:
				reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
			case 3:
				time.AfterFunc(time.Minute, func() { reply.Answer(ipmi.Response{}, nil) })
			default:
				reply.Answer(ipmi.Response{Data: data}, nil)
			}
		})
		engine := ipmb.New(ipmb.Config{Handler: handler, Interface: "ipmi0", Channel: 7, Host: 3})
		d := &decoder{engine: engine, requests: make(chan ipmi.Request), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- engine.Run(ctx, d) }()
		expect := func(got []string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		for range 3 {
			expect(d.asks(0x82, 5, 1, 0xAA), "82h 5: 00 01 AA")
		}
		if runs != 1 || last.Interface != "ipmi0" || last.Channel != 7 || last.Host != 3 || last.LUN != 1 || last.Deadline.IsZero() {
			t.Errorf("the handler ran %d times: %+v", runs, last)
		}
		expect(d.asks(0x82, 5, 1, 0xAB), "82h 5: 00 02 AB")
		expect(d.asks(0x20, 6, 1), "20h 6: 00 03") // our own address is the driver's
		expect(d.asks(0x83, 6, 1))
		expect(d.asks(0x82, 7, 2), "82h 7: C1")
		expect(d.asks(0x82, 8, 1, make([]byte, 12)...), fmt.Sprintf("82h 8: %02X", uint8(ipmi.CodeOf(ipmi.ErrResponseTooLong))))
		expect(d.asks(0x82, 9, 3))
		time.Sleep(5 * time.Second)
		expect(d.answered(), "82h 9: C3")

		d.refuses(fmt.Errorf("%w: no", i2c.ErrStuck))
		expect(d.asks(0x82, 10, 1))
		d.refuses(nil)
		time.Sleep(10 * time.Millisecond) // written again after a pause
		expect(d.answered(), "82h 10: 00 07")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}
