package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// onProcessors runs a test on all processors and on one.
func onProcessors(t *testing.T, test func(t *testing.T)) {
	for _, n := range []int{0, 1} {
		t.Run(fmt.Sprint("processors ", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			test(t)
		})
	}
}

// Requests that wait until the bus has begun, or come while it begins, are sent in order,
// and answered in order.
func TestOrder(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for range 200 {
			w := newWorld(t, Config{})
			stop := w.run(t)
			const burst = 60
			var mu sync.Mutex
			var answers []byte
			all := make(chan struct{})
			begun := make(chan struct{})
			for i := range burst {
				if i == burst/3 {
					go func() { w.Begin(); close(begun) }()
				}
				if i == burst/2 {
					runtime.Gosched()
				}
				c := NewCall(new(Client), func(res ipmi.Response, err error) {
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if answers = append(answers, res.Data...); len(answers) == burst {
						close(all)
					}
				})
				req := request(i)
				if err := w.Send(c, &req); err != nil {
					t.Fatal(err)
				}
				req.Data[0] = 0xFF // which is the sender's again
			}
			<-all
			<-begun
			if !bytes.Equal(answers, numbers(burst)) || !bytes.Equal(w.frames(), numbers(burst)) {
				t.Fatalf("sent % X\nanswered % X", w.frames(), answers)
			}
			stop()
		}
	})
}

func TestBroadcastsKeepTheirPlace(t *testing.T) {
	w := &recorder{}
	b := New(Config{}, w)
	send := func(n byte) {
		var err error
		if n%2 == 0 {
			err = b.StartBroadcast(nil, func(error) {}, 0x30, 0, 1, []byte{n})
		} else {
			req := request(int(n))
			err = b.Send(NewCall(nil, func(ipmi.Response, error) {}), &req)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range byte(10) {
		send(n)
	}
	b.Begin()
	for n := range byte(10) {
		send(10 + n)
	}
	if !bytes.Equal(w.sent, numbers(20)) {
		t.Errorf("sent % X", w.sent)
	}
}

// recorder is a link that answers at once.
type recorder struct {
	Link
	sent []byte
	err  error
}

func (r *recorder) Send(c *Call, req *ipmb.Request) error {
	if r.err != nil {
		return r.err
	}
	r.sent = append(r.sent, req.Data...)
	c.End(ipmi.Response{Data: req.Data}, nil)
	return nil
}

func (r *recorder) StartBroadcast(done func(error), _ ipmi.NetFn, _ ipmi.LUN, _ ipmi.Command, data []byte) error {
	if r.err != nil {
		return r.err
	}
	r.sent = append(r.sent, data...)
	done(nil)
	return nil
}

func TestBusThatIsDownRefuses(t *testing.T) {
	w := newWorld(t, Config{})
	var ends []error
	c := NewCall(nil, func(_ ipmi.Response, err error) { ends = append(ends, err) })
	req := request(1)
	if err := w.Send(c, &req); err != nil {
		t.Fatal(err)
	}
	err := w.StartBroadcast(nil, func(err error) { ends = append(ends, err) }, 0x30, 0, 1, nil)
	if err != nil || len(ends) > 0 {
		t.Fatalf("before it is known: %v, %v", err, ends)
	}
	w.Begin()
	w.Begin()
	if len(ends) != 2 || !errors.Is(ends[0], ipmb.ErrClosed) || !errors.Is(ends[1], ipmb.ErrClosed) {
		t.Errorf("what has waited: %v", ends)
	}
	if err := w.Send(c, &req); !errors.Is(err, ipmb.ErrClosed) {
		t.Error(err)
	}
	if w.InProgress() != 0 {
		t.Error("places are taken still")
	}
}

func TestWhatNeverCanBeSentDoesNotWait(t *testing.T) {
	w := newWorld(t, Config{})
	c := NewCall(new(Client), nil)
	for _, req := range []ipmb.Request{{}, {Responder: remote, NetFn: 7}} {
		if err := w.Send(c, &req); !errors.Is(err, ipmb.ErrInvalid) {
			t.Error(err)
		}
	}
	if w.InProgress() != 0 {
		t.Error("places are taken still")
	}
}

func TestCancel(t *testing.T) {
	for name, begun := range map[string]bool{"before the bus has begun": false, "on its way": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			defer w.run(t)()
			if begun {
				w.Begin()
			}
			ended := make(chan error, 2)
			c := NewCall(new(Client), func(_ ipmi.Response, err error) { ended <- err })
			c.Cancel()
			for range 2 {
				req := request(1)
				req.Responder = quiet
				if err := w.Send(c, &req); err != nil {
					t.Fatal(err)
				}
				c.Cancel()
				c.Cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
			w.Begin()
			if w.InProgress() != 0 || !begun && len(w.frames()) > 0 {
				t.Errorf("%d in progress, % X was sent", w.InProgress(), w.frames())
			}
		})
	}
}

// A call that is cancelled while the bus begins ends as well.
func TestCancelWhileTheBusBegins(t *testing.T) {
	for range 300 {
		w := newWorld(t, Config{})
		stop := w.run(t)
		ended := make(chan error, 20)
		var calls []*Call
		for range 20 {
			c := NewCall(new(Client), func(_ ipmi.Response, err error) { ended <- err })
			req := request(1)
			req.Responder = quiet
			if err := w.Send(c, &req); err != nil {
				t.Fatal(err)
			}
			calls = append(calls, c)
		}
		var beginning sync.WaitGroup
		beginning.Go(w.Begin)
		for _, c := range calls {
			c.Cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		beginning.Wait()
		stop()
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		defer w.run(t)()
		w.Begin()
		w.Drain(t.Context()) // has nothing to wait for
		w.leaving = false
		req := request(1)
		req.Responder = quiet
		c := NewCall(new(Client), func(ipmi.Response, error) {})
		bridged := NewCall(nil, func(ipmi.Response, error) {})
		if err := errors.Join(w.Send(c, &req), w.Send(bridged, &req)); err != nil {
			t.Fatal(err)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		w.Drain(impatient)
		if !w.Leaving() || w.InProgress() != 1 {
			t.Errorf("%d in progress", w.InProgress())
		}
		other := NewCall(new(Client), nil)
		if err := w.Send(other, &req); !errors.Is(err, ErrRemoved) {
			t.Errorf("a client: %v", err)
		}
		drained := make(chan struct{})
		go func() { w.Drain(t.Context()); close(drained) }()
		synctest.Wait()
		c.Cancel()
		<-drained
		bridged.Cancel()
		if err := w.Send(bridged, &req); err != nil {
			t.Errorf("the daemon itself: %v", err)
		}
		bridged.Cancel()
	})
}

func TestResponderThatIsLeftOpen(t *testing.T) {
	w := newWorld(t, Config{})
	defer w.run(t)()
	w.Begin()
	if got := w.Responder(0x42); got != 0x42 {
		t.Error(got)
	}
	req := request(7)
	req.Responder = 0
	if err := w.Send(NewCall(nil, nil), &req); !errors.Is(err, ipmb.ErrInvalid) {
		t.Errorf("of a client that must name it: %v", err)
	}
	if res, err := w.Do(t.Context(), req); err != nil || !bytes.Equal(res.Data, []byte{7}) {
		t.Errorf("%v, %v", res, err)
	}
	w.SetRemoteAddress(0x50)
	if got := w.Responder(0); got != 0x50 {
		t.Error(got)
	}
}

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		defer w.run(t)()
		w.Begin()
		req := request(7)
		req.Responder = quiet
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := w.Do(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := w.Do(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		req.NetFn = 7
		if _, err := w.Do(ctx, req); !errors.Is(err, ipmb.ErrInvalid) {
			t.Error(err)
		}
	})
}

// A callback may use the bus, and send the next request: no lock is held.
func TestCallbacksMayUseTheBus(t *testing.T) {
	var b *Bus
	use := func() { b.InProgress(); b.State(); b.Leaving() }
	b = New(Config{Ended: func(*ipmb.Request, ipmi.Response, error) { use() }}, &recorder{})
	ended := 0
	var c *Call
	send := func() {
		req := request(ended)
		if err := b.Send(c, &req); err != nil {
			t.Fatal(err)
		}
	}
	c = NewCall(new(Client), func(ipmi.Response, error) {
		use()
		if ended++; ended < 10 {
			send()
		}
	})
	send() // waits until the bus has begun
	b.Begin()
	if ended != 10 {
		t.Errorf("%d requests have ended", ended)
	}
}

func TestEndedIsToldOfEveryRequest(t *testing.T) {
	var told []string
	config := Config{Ended: func(req *ipmb.Request, res ipmi.Response, err error) {
		told = append(told, fmt.Sprint(req.Command, req.Data == nil, res.Code, err))
	}}
	link := &recorder{}
	b := New(config, link)
	c := NewCall(nil, func(ipmi.Response, error) {})
	for n := range 2 {
		req := request(n)
		if err := b.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		b.Begin()
	}
	link.err = ipmb.ErrClosed
	req := request(3)
	if err := b.Send(c, &req); err == nil {
		t.Error("sent")
	}
	want := []string{fmt.Sprint(ipmi.Command(0), true, ipmi.CodeOK, nil), fmt.Sprint(ipmi.Command(1), true, ipmi.CodeOK, nil)}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// The responder's part allocates nothing, so all allocations are the bus's and the engine's.
func TestSendAllocatesNothing(t *testing.T) {
	w := newWorld(t, Config{})
	defer w.run(t)()
	w.Begin()
	const frugal = 0x36
	var out []byte
	err := w.wire.Respond(frugal, func(b []byte, reply func([]byte)) {
		f, _ := ipmb.Decode(b)
		out = f.Response(ipmi.CodeOK, f.Data).Append(out[:0])
		reply(out)
	})
	if err != nil {
		t.Fatal(err)
	}
	client := new(Client)
	client.Identify(Process{PID: 7, UID: 8})
	ended := make(chan error, 1)
	c := NewCall(client, func(_ ipmi.Response, err error) { ended <- err })
	req := request(1)
	req.Responder = frugal
	if n := testing.AllocsPerRun(1000, func() {
		if err := w.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDirectory(t *testing.T) {
	var d Directory[*Bus]
	first, second := New(Config{Index: 5}, nil), New(Config{Index: 5}, nil)
	d.Add(first)
	d.Add(second)
	if d.Find(5) != first || d.Find(4) != nil {
		t.Error("the first one does not have it")
	}
	first.Leave()
	if d.Find(5) != first {
		t.Error("a bus that leaves is unknown")
	}
	d.Add(second)
	d.Free(first)
	if d.Find(5) != second {
		t.Error("the second one does not have it")
	}
	d.Free(second)
	if d.Find(5) != nil {
		t.Error("it is not free")
	}
}

// The name of a bus and updateBmcSlaveAddr take the number from the same place.
func TestNumber(t *testing.T) {
	for device, want := range map[string]string{
		"/dev/ipmb-4": "4", "/dev/ipmb-12": "12", "/dev/ipmb-04": "04", "/dev/ipmb-3-x": "3", "/dev/ipmb": "", "/dev/ipmb-": "", "": "", "/a-b-5": "",
		"/run/host-1-2": "1", "/run/a-9/ipmb-12.alt": "9", "/run/my-bus/ipmb-4": "",
		"/sys/bus/i2c/devices/4-1010/slave-mqueue": "4", "/sys/x-3/slave-mqueue": "", "/sys/devices/1e78a000.i2c-bus/4-1010/slave-mqueue": "4",
		"/dev/ipmb-99999999999999999999": "99999999999999999999",
	} {
		if got := Number(device); got != want {
			t.Errorf("Number(%q) = %q, want %q", device, got, want)
		}
	}
}
