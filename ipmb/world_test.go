package ipmb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The nodes on the bus of the stories.
const (
	own     ipmi.Address = 0x20 // the engine
	me      ipmi.Address = 0x2C // a responder
	other   ipmi.Address = 0x2E // another responder
	peer    ipmi.Address = 0x40 // a requester
	bystand ipmi.Address = 0x42 // another requester
)

// Two commands.
const (
	cmdA ipmi.Command = 0x01
	cmdB ipmi.Command = 0x37
)

const (
	ms = time.Millisecond
	// wholePolicy is the time of the default policy.
	wholePolicy = 1500 * ms
	// expired is how long a number is held after a time-out.
	expired = 6 * time.Second
)

// world is an engine that runs on a scripted bus in virtual time.
type world struct {
	*bus
	t      *testing.T
	engine *ipmb.Engine
	cancel context.CancelFunc
	ran    chan error // the result of Run
	// wrap makes the transport of the bus, where it is another one; nil for none.
	wrap func(*bus) i2c.Transport
}

// story runs tell as a test of its own with a new world in virtual time, on a bus
// on which no frame comes twice. The story has ended well when Run has returned and no goroutine
// is left.
func story(t *testing.T, name string, config ipmb.Config, tell func(t *testing.T, w *world)) {
	t.Helper()
	storyOn(t, name, i2c.Limits{MaxFrame: 239, GeneralCall: true, CopyTime: i2c.NoCopies}, config, tell)
}

// storyOnI2C is a story on a bus on which an answer may come again.
func storyOnI2C(t *testing.T, name string, config ipmb.Config, tell func(t *testing.T, w *world)) {
	t.Helper()
	storyOn(t, name, i2c.Limits{MaxFrame: 239, GeneralCall: true}, config, tell)
}

// storyOn is a story on a transport with other limits.
func storyOn(t *testing.T, name string, limits i2c.Limits, config ipmb.Config, tell func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, engine: ipmb.New(config), bus: newBus(t, limits)}
			w.place(0x00, generalCall)
			w.place(peer, silent)
			w.place(bystand, silent)
			w.run()
			defer w.stop()
			tell(t, w)
		})
	})
}

// run starts the engine on the world's bus.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel = cancel
	ran := make(chan error, 1)
	w.ran = ran
	transport := i2c.Transport(w.bus)
	if w.wrap != nil {
		transport = w.wrap(w.bus)
	}
	go func() { ran <- w.engine.Run(ctx, transport) }()
	synctest.Wait()
}

// stop ends Run and returns its result.
func (w *world) stop() error {
	w.t.Helper()
	w.cancel()
	return w.returned()
}

// returned waits for the end of Run.
func (w *world) returned() error {
	w.t.Helper()
	if w.ran == nil {
		return nil
	}
	select {
	case err := <-w.ran:
		w.ran = nil
		if !w.isClosed() {
			w.t.Error("Run returned and left its transport open")
		}
		return err
	case <-time.After(time.Minute):
		w.t.Error("Run did not return")
		return nil
	}
}

// reopen runs the engine, which has stopped, on a new bus with the same nodes.
func (w *world) reopen() {
	next := newBus(w.t, w.limits)
	next.epoch, next.nodes = w.epoch, w.nodes
	w.bus = next
	w.run()
}

// now is the time since the story began.
func (w *world) now() time.Duration { return time.Since(w.epoch) }

// until sleeps until the story is at d.
func (w *world) until(d time.Duration) {
	w.t.Helper()
	if w.now() > d {
		w.t.Fatalf("it is %v already, not %v", w.now(), d)
	}
	time.Sleep(d - w.now())
	synctest.Wait()
}

// unique makes the data of each request of the tests its own.
var unique struct {
	sync.Mutex
	n uint32
}

// ask is a request with data of its own.
func ask(to ipmi.Address, cmd ipmi.Command) ipmb.Request {
	unique.Lock()
	defer unique.Unlock()
	unique.n++
	return ipmb.Request{
		Responder: to,
		NetFn:     ipmi.NetFnApp,
		Command:   cmd,
		Data:      binary.BigEndian.AppendUint32(nil, unique.n),
	}
}

// flight is a call on its way.
type flight struct {
	t          *testing.T
	epoch      time.Time
	request    ipmb.Request
	call       *ipmb.Call
	accepted   chan struct{} // closed when the bus has taken the request
	acceptedAt time.Duration
	done       chan struct{} // closed at the end
	response   ipmi.Response
	err        error
	ended      time.Duration // since the epoch
}

// start starts a call; calls started one after another stand in this order.
func (w *world) start(req ipmb.Request) *flight { return w.startFor(context.Background(), req) }

// startFor starts a call that is cancelled when ctx ends.
func (w *world) startFor(ctx context.Context, req ipmb.Request) *flight {
	f := &flight{t: w.t, epoch: w.epoch, request: req, accepted: make(chan struct{}), done: make(chan struct{})}
	f.call = ipmb.NewCall(func(response ipmi.Response, err error) {
		response.Data = bytes.Clone(response.Data)
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = ctx.Err()
		}
		f.response, f.err, f.ended = response, err, time.Since(f.epoch)
		close(f.done)
	})
	f.call.OnAccepted(func() {
		f.acceptedAt = time.Since(f.epoch)
		close(f.accepted)
	})
	err := ctx.Err()
	if err == nil {
		err = w.engine.Send(f.call, &req)
	}
	if err != nil {
		f.err, f.ended = err, w.now()
		close(f.done)
		return f
	}
	context.AfterFunc(ctx, f.call.Cancel)
	return f
}

// broadcast broadcasts, and waits for the outcome, at most until ctx ends.
func broadcast(ctx context.Context, e *ipmb.Engine, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	return outcomeOf(ctx, func(done func(error)) error { return e.StartBroadcast(done, netFn, lun, cmd, data) })
}

// respond writes a response, and waits for the outcome, at most until ctx ends.
func respond(ctx context.Context, e *ipmb.Engine, frame []byte) error {
	return outcomeOf(ctx, func(done func(error)) error { return e.StartRespond(frame, done) })
}

func outcomeOf(ctx context.Context, start func(done func(error)) error) error {
	ended := make(chan error, 1)
	if err := start(func(err error) { ended <- err }); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startAll starts n calls of the same command.
func (w *world) startAll(n int, req ipmb.Request) []*flight {
	flights := make([]*flight, n)
	for i := range flights {
		next := ask(req.Responder, req.Command)
		req.Data = next.Data
		flights[i] = w.start(req)
	}
	synctest.Wait()
	return flights
}

// wait waits for the end of the call.
func (f *flight) wait() *flight {
	f.t.Helper()
	select {
	case <-f.done:
	case <-time.After(10 * time.Minute):
		f.t.Fatal("the call did not end")
	}
	return f
}

// hasEnded reports whether the call has ended by now.
func (f *flight) hasEnded() bool {
	synctest.Wait()
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// answered checks that the call ends with its own answer.
func (f *flight) answered() *flight {
	f.t.Helper()
	f.wait()
	if f.err != nil {
		f.t.Errorf("the call ended with %v, want an answer", f.err)
	} else if !bytes.Equal(f.response.Data, f.request.Data) {
		f.t.Errorf("the call got the answer % X, its own is % X", f.response.Data, f.request.Data)
	}
	return f
}

// failed checks that the call ends with want.
func (f *flight) failed(want error) *flight {
	f.t.Helper()
	f.wait()
	if !errors.Is(f.err, want) {
		f.t.Errorf("the call ended with %v, want %v", f.err, want)
	}
	return f
}

// at checks when the call ended.
func (f *flight) at(want time.Duration) *flight {
	f.t.Helper()
	f.wait()
	if f.ended != want {
		f.t.Errorf("the call ended at %v, want %v", f.ended, want)
	}
	return f
}

// do makes a call and waits for its end.
func (w *world) do(req ipmb.Request) *flight { return w.start(req).wait() }

// numbers are the sequence numbers of the requests written to an address.
func (w *world) numbers(to ipmi.Address) []uint8 {
	w.t.Helper()
	var numbers []uint8
	for _, sent := range w.writes(to) {
		if f := sent.frame(w.t); !f.NetFn.IsResponse() {
			numbers = append(numbers, f.Sequence)
		}
	}
	return numbers
}

// used makes n calls, one after the other, to a responder that is prompt, and
// gives the sequence numbers they had.
func (w *world) used(n int, to ipmi.Address, cmd ipmi.Command) []uint8 {
	w.t.Helper()
	w.place(to, prompt)
	before := len(w.numbers(to))
	for range n {
		if w.do(ask(to, cmd)).answered().err != nil {
			w.t.FailNow()
		}
	}
	return w.numbers(to)[before:]
}

// count is a counter of the engine.
func (w *world) count(name string) uint64 {
	w.t.Helper()
	n, ok := w.engine.Statistics()[name]
	if !ok {
		w.t.Errorf("no counter is named %s", name)
	}
	return n
}
