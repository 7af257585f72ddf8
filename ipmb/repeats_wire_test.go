package ipmb_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// wire is a bus in virtual time between a requester and a responder: one frame at a
// time, each for as long as its bytes take. It loses some of the answers.
type wire struct {
	byteTime time.Duration
	lose     float64 // of the answers
	turn     chan struct{}

	mu   sync.Mutex
	dice *rand.Rand
	lost int
}

// inbox is the frames that have come to a transport and are not read yet.
type inbox struct {
	wake chan struct{}

	mu     sync.Mutex
	frames [][]byte
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

// put adds a frame, and wakes the reader.
func (x *inbox) put(frame []byte) {
	x.mu.Lock()
	x.frames = append(x.frames, frame)
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// read reads a transport until it is closed.
func (x *inbox) read(batch *i2c.Batch, closed <-chan struct{}) error {
	for {
		batch.Reset()
		x.mu.Lock()
		for len(x.frames) > 0 && batch.Room() != nil {
			batch.Add(0, copy(batch.Room(), x.frames[0]))
			x.frames = x.frames[1:]
		}
		x.mu.Unlock()
		if len(batch.Frames()) > 0 {
			return nil
		}
		select {
		case <-x.wake:
		case <-closed:
			return i2c.ErrClosed
		}
	}
}

// wireEnd is a node's transport on a wire.
type wireEnd struct {
	wire      *wire
	other     *wireEnd
	inbox     inbox
	closed    chan struct{}
	closeOnce sync.Once
}

func newWire(byteTime time.Duration, lose float64, seed uint64) (a, b *wireEnd) {
	w := &wire{byteTime: byteTime, lose: lose, turn: make(chan struct{}, 1), dice: rand.New(rand.NewPCG(seed, 1))}
	a, b = newWireEnd(w), newWireEnd(w)
	a.other, b.other = b, a
	return a, b
}

func newWireEnd(w *wire) *wireEnd {
	return &wireEnd{wire: w, inbox: newInbox(), closed: make(chan struct{})}
}

func (*wireEnd) Limits() i2c.Limits { return i2c.Limits{MaxFrame: 239} }

func (x *wireEnd) Close() error {
	x.closeOnce.Do(func() { close(x.closed) })
	return nil
}

func (x *wireEnd) ReadFrames(batch *i2c.Batch) error { return x.inbox.read(batch, x.closed) }

// WriteFrame returns after the other end has the frame: usually at once, and now and
// then so late that the other end has answered, or asked again, meanwhile.
func (x *wireEnd) WriteFrame(frame []byte) error {
	w := x.wire
	w.turn <- struct{}{}
	time.Sleep(time.Duration(len(frame)) * w.byteTime)
	arrives, linger := w.roll(frame)
	if arrives {
		x.other.inbox.put(bytes.Clone(frame))
	}
	<-w.turn
	if linger > 0 {
		time.Sleep(linger)
	}
	return nil
}

func (w *wire) roll(frame []byte) (arrives bool, linger time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ipmi.NetFn(frame[1]>>2).IsResponse() && w.dice.Float64() < w.lose {
		w.lost++
		return false, 0
	}
	if w.dice.IntN(10) == 0 {
		linger = time.Duration(w.dice.IntN(20)) * w.byteTime
	}
	return true, linger
}

// A request of the judges, and how it ended.
type asked struct {
	netFn ipmi.NetFn
	cmd   ipmi.Command
	data  []byte
}

// asker sends requests to the responder. false says that there was no answer.
type asker interface {
	ask(req asked) (ipmi.Response, bool)
}

// engineAsker is ipmbd's own engine as the requester.
type engineAsker struct {
	t      *testing.T
	engine *ipmb.Engine
}

func (a engineAsker) ask(req asked) (ipmi.Response, bool) {
	for {
		response, err := a.engine.Do(a.t.Context(), ipmb.Request{
			Responder: own, NetFn: req.netFn, Command: req.cmd, Data: req.data,
		})
		switch err {
		case nil:
			return response, true
		case ipmb.ErrBusy: // never sent
		default:
			return response, false
		}
	}
}

// numbers is how a requester of the judges chooses its sequence numbers. A number
// is in use until it is given back; answered says whether there was an answer.
type numbers interface {
	take() uint8
	giveBack(n uint8, answered bool)
}

// cyclicNumbers takes the next number that is not in use.
type cyclicNumbers struct {
	next  uint8
	inUse [ipmb.SequenceNumbers]bool
}

func (c *cyclicNumbers) take() uint8 {
	for c.inUse[c.next] {
		c.next = (c.next + 1) % ipmb.SequenceNumbers
	}
	n := c.next
	c.inUse[n] = true
	c.next = (n + 1) % ipmb.SequenceNumbers
	return n
}

func (c *cyclicNumbers) giveBack(n uint8, _ bool) { c.inUse[n] = false }

// leastRecentlyUsed takes the number that was given back first.
type leastRecentlyUsed struct{ idle []uint8 }

func newLeastRecentlyUsed() *leastRecentlyUsed {
	l := new(leastRecentlyUsed)
	for n := range uint8(ipmb.SequenceNumbers) {
		l.idle = append(l.idle, n)
	}
	return l
}

func (l *leastRecentlyUsed) take() uint8 {
	n := l.idle[0]
	l.idle = l.idle[1:]
	return n
}

func (l *leastRecentlyUsed) giveBack(n uint8, _ bool) { l.idle = append(l.idle, n) }

// fixedNumber is always the same.
type fixedNumber struct{}

func (fixedNumber) take() uint8          { return 5 }
func (fixedNumber) giveBack(uint8, bool) {}

// linuxNumbers go on with an answer only: drivers/char/ipmi/ipmi_ipmb.c of Linux, one
// request at a time.
type linuxNumbers struct{ current uint8 }

func (l *linuxNumbers) take() uint8 { return l.current }

func (l *linuxNumbers) giveBack(_ uint8, answered bool) {
	if answered {
		l.current = (l.current + 1) % ipmb.SequenceNumbers
	}
}

// modelAsker is a requester that sends each request several times, and reuses any number.
type modelAsker struct {
	end   *wireEnd
	retry time.Duration
	tries int
	pause time.Duration // after each answer

	mu      sync.Mutex
	numbers numbers
	waiting [ipmb.SequenceNumbers]*waiter
}

type waiter struct {
	netFn  ipmi.NetFn
	cmd    ipmi.Command
	answer chan ipmi.Response
}

// run hands answers to the goroutines that wait for them, until the end is closed.
func (a *modelAsker) run() {
	var batch i2c.Batch
	for a.end.ReadFrames(&batch) == nil {
		for _, b := range batch.Frames() {
			f, err := ipmb.Decode(b)
			if err != nil {
				continue
			}
			a.mu.Lock()
			w := a.waiting[f.Sequence]
			a.mu.Unlock()
			if w != nil && w.netFn == f.NetFn.Request() && w.cmd == f.Command {
				select {
				case w.answer <- ipmi.Response{Code: f.Code, Data: bytes.Clone(f.Data)}:
				default:
				}
			}
		}
	}
}

func (a *modelAsker) ask(req asked) (response ipmi.Response, ok bool) {
	w := &waiter{req.netFn, req.cmd, make(chan ipmi.Response, 1)}
	a.mu.Lock()
	n := a.numbers.take()
	a.waiting[n] = w
	a.mu.Unlock()
	frame := ipmb.Frame{
		Destination: own, NetFn: req.netFn, Source: peer, Sequence: n, Command: req.cmd, Data: req.data,
	}.Append(nil)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for try := 0; try < a.tries && !ok; try++ {
		_ = a.end.WriteFrame(frame)
		timer.Reset(a.retry)
		select {
		case response = <-w.answer:
			ok = true
		case <-timer.C:
		}
	}
	a.mu.Lock()
	a.waiting[n] = nil
	a.numbers.giveBack(n, ok)
	a.mu.Unlock()
	if a.pause > 0 {
		time.Sleep(a.pause)
	}
	return response, ok
}
