package ipmb_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// This file is a model of a bad bus, in virtual time, that tries to give a call
// another call's answer. Each request has data of its own, and each answer the
// data of its request. The fate of a frame depends on the seed, the request and
// how often it was sent before, so that a run can be made again:
//
//	MODEL_N=1000000 MODEL_SEED=7 go test -run TestModel -v -timeout 0 ./ipmb

// perMille is a probability.
type perMille int

// badness has the faults of a bus.
type badness struct {
	loses    perMille // frames: a request or an answer
	damages  perMille // frames
	slow     perMille // answers that come after 100 ms to slowest
	slowest  time.Duration
	doubles  perMille // answers, in another read
	seconds  perMille // transmissions that are answered twice
	apart    [2]time.Duration
	early    perMille // answers that come before the write has returned
	absent   perMille // writes: the address is not acknowledged
	outbid   perMille // writes: arbitration is lost
	refuses  perMille // writes: a byte is not acknowledged, half of them by a node that has the frame
	sticks   perMille // writes: they time out, half of them to a node that has the frame
	reopens  bool
	moves    bool // our address changes
	cancels  perMille
	casts    bool // nodes answer broadcasts
	mixedLUN bool
}

// mix is a kind of bus and of traffic.
type mix struct {
	name       string
	byteTime   time.Duration
	callers    int
	noWait     perMille
	responders int
	commands   int
	engines    bool // the responder is an engine that asks us, too
	quick      bool // no frame comes twice: no number rests
	bad        badness
}

// copyBound is the longest time after an answer in which the model gives it again, or another
// answer to the same transmission.
const copyBound = 35 * ms

var withinBound = [2]time.Duration{0, copyBound}

var mixes = []mix{
	{name: "losses and damage, 100 kHz, 64 wait", byteTime: oneByte, callers: 64, responders: 1, commands: 1,
		bad: badness{loses: 20, damages: 20}},
	{name: "losses on a bus without copies, 64 NoWait", callers: 64, noWait: 1000, responders: 1, commands: 32, quick: true,
		bad: badness{loses: 20, damages: 20}},
	{name: "doubled answers on a socket, 100 kHz, 64 NoWait", byteTime: oneByte, callers: 64, noWait: 1000, responders: 1, commands: 1, quick: true,
		bad: badness{doubles: 50, apart: withinBound}},
	{name: "doubled answers on a socket, late ones, 64 NoWait", callers: 64, noWait: 1000, responders: 1, commands: 1, quick: true,
		bad: badness{doubles: 50, apart: withinBound, slow: 900, slowest: 200 * ms}},
	{name: "doubled answers on a socket, 64 in flight", callers: 64, noWait: 500, responders: 1, commands: 2, quick: true,
		bad: badness{doubles: 50, apart: [2]time.Duration{0, 5 * ms}}},
	{name: "doubled answers, 100 kHz, 64 NoWait", byteTime: oneByte, callers: 64, noWait: 1000, responders: 1, commands: 1,
		bad: badness{doubles: 50, apart: withinBound}},
	{name: "doubled answers, 64 NoWait and 16 that wait", callers: 80, noWait: 800, responders: 1, commands: 1,
		bad: badness{doubles: 100, apart: withinBound, early: 100}},
	{name: "two answers to one transmission, 48 in flight", callers: 48, noWait: 500, responders: 2, commands: 2,
		bad: badness{seconds: 100, doubles: 50, apart: withinBound, slow: 20, slowest: 900 * ms, loses: 10}},
	{name: "answers as late as 5.9 s, 32 in flight", callers: 32, noWait: 500, responders: 2, commands: 8,
		bad: badness{slow: 50, slowest: 5900 * ms, doubles: 50, seconds: 50, apart: withinBound, loses: 10}},
	{name: "writes that are refused, 100 kHz, 16 in flight", byteTime: oneByte, callers: 16, noWait: 500, responders: 2, commands: 8,
		bad: badness{absent: 20, outbid: 20, refuses: 10, doubles: 20, seconds: 20, apart: withinBound, slow: 20, slowest: time.Second}},
	{name: "writes that are refused, 48 in flight", callers: 48, noWait: 500, responders: 1, commands: 2,
		bad: badness{absent: 20, outbid: 20, refuses: 10, doubles: 20, apart: withinBound, slow: 300, slowest: time.Second}},
	{name: "writes that time out, 48 in flight", callers: 48, noWait: 500, responders: 1, commands: 2,
		bad: badness{sticks: 10, doubles: 20, apart: withinBound, slow: 300, slowest: time.Second, early: 100}},
	{name: "broadcasts, 100 kHz, 48 in flight", byteTime: oneByte, callers: 48, noWait: 500, responders: 4, commands: 1,
		bad: badness{casts: true}},
	{name: "calls that are cancelled, mixed LUNs, 64 in flight", callers: 64, noWait: 500, responders: 2, commands: 8,
		bad: badness{cancels: 100, mixedLUN: true, doubles: 50, seconds: 50, apart: withinBound, slow: 50, slowest: 3 * time.Second, loses: 10, early: 100}},
	{name: "reopening, another address, broadcasts, 32 in flight", callers: 32, noWait: 500, responders: 2, commands: 4,
		bad: badness{reopens: true, moves: true, casts: true, mixedLUN: true, doubles: 50, seconds: 50, apart: withinBound, slow: 50, slowest: 3 * time.Second, loses: 10}},
	{name: "one in flight, all of it", callers: 1, noWait: 500, responders: 1, commands: 1, bad: allOfIt},
	{name: "100 kHz, 63 in flight, all of it", byteTime: oneByte, callers: 63, noWait: 500, responders: 4, commands: 16, bad: allOfIt},
	{name: "64 in flight, all of it", callers: 64, noWait: 500, responders: 4, commands: 16, bad: allOfIt},
	{name: "engine against engine, 100 kHz, 16 in flight", byteTime: oneByte, callers: 16, noWait: 500, responders: 1, commands: 8, engines: true,
		bad: badness{loses: 10, damages: 10, doubles: 30, apart: withinBound, absent: 10, outbid: 20, refuses: 10, slow: 10, slowest: time.Second, mixedLUN: true, cancels: 20}},
	{name: "engine against engine, 64 in flight", callers: 64, noWait: 500, responders: 1, commands: 16, engines: true,
		bad: badness{loses: 10, damages: 10, doubles: 30, apart: withinBound, absent: 10, outbid: 20, refuses: 10, sticks: 2, slow: 10, slowest: time.Second, mixedLUN: true, cancels: 20}},
}

var allOfIt = badness{
	loses: 10, damages: 10, slow: 20, slowest: 5900 * ms, doubles: 30, seconds: 30, apart: withinBound, early: 50,
	absent: 10, outbid: 10, refuses: 10, sticks: 2, reopens: true, moves: true, cancels: 20, casts: true, mixedLUN: true,
}

// beyond is the case that no engine can tell apart: a second answer to one transmission that comes
// when the quarantine of the first one's number has ended.
var beyond = []mix{
	{name: "two answers 50 to 200 ms apart, 100 kHz, 64 in flight", byteTime: oneByte, callers: 64, noWait: 500, responders: 1, commands: 1,
		bad: badness{seconds: 10, apart: [2]time.Duration{50 * ms, 200 * ms}}},
	{name: "two answers 50 to 200 ms apart, 100 kHz, 8 in flight", byteTime: oneByte, callers: 8, noWait: 500, responders: 1, commands: 1,
		bad: badness{seconds: 10, apart: [2]time.Duration{50 * ms, 200 * ms}}},
	{name: "two answers 50 to 200 ms apart, 100 kHz, 1 in flight", byteTime: oneByte, callers: 1, noWait: 500, responders: 1, commands: 1,
		bad: badness{seconds: 10, apart: [2]time.Duration{50 * ms, 200 * ms}}},
}

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func TestModel(t *testing.T) { runModels(t, mixes, (*model).mustHold) }

// TestModelBeyondItsBound prints how often a call gets another call's answer on a
// bus that keeps no bound. It asserts that calls end, and nothing more.
func TestModelBeyondItsBound(t *testing.T) {
	runModels(t, beyond, func(m *model, t *testing.T) {
		m.wrong.Store(0)
		m.mustHold(t)
	})
}

// runModels runs each mix, reports how it went, and has it checked.
func runModels(t *testing.T, mixes []mix, check func(*model, *testing.T)) {
	n, seed := setting(t, "MODEL_N", uint64(testmain.Amount(2500, 10000))), setting(t, "MODEL_SEED", rand.Uint64())
	for _, x := range mixes {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			m := newModel(x, seed, n)
			synctest.Test(t, m.run)
			m.report(t)
			check(m, t)
		})
	}
}

// model is a run of a mix.
type model struct {
	mix
	seed     uint64
	requests uint64
	wire     chan struct{} // held by the frame that is on the bus
	stations map[ipmi.Address]*station
	ids      atomic.Uint64

	started, ended, twice                                                atomic.Uint64
	answered, wrong, timeouts, unacknowledged, stuck, busy, gone, others atomic.Uint64
	refused                                                              atomic.Uint64
	took                                                                 time.Duration
	unfree                                                               []string

	mu     sync.Mutex
	sent   map[string]uint64 // how often a frame was written
	runs   map[uint64]int    // of handlers, by request
	wrongs []string
}

func newModel(x mix, seed, requests uint64) *model {
	return &model{
		mix:      x,
		seed:     seed,
		requests: requests,
		stations: make(map[ipmi.Address]*station),
		sent:     make(map[string]uint64),
		runs:     make(map[uint64]int),
	}
}

func (m *model) limits() i2c.Limits {
	limits := i2c.Limits{MaxFrame: 239, GeneralCall: true}
	if m.quick {
		limits.CopyTime = i2c.NoCopies
	}
	return limits
}

// The addresses of the model's responders, if they are no engines.
func (m *model) responder(i int) ipmi.Address { return ipmi.Address(0x40 + 2*i) }

// Addresses of engines.
const (
	modelOwn   ipmi.Address = 0x20
	modelMoved ipmi.Address = 0x22
	modelPeer  ipmi.Address = 0x24
)

// run is the model's life, in a bubble.
func (m *model) run(t *testing.T) {
	begin := time.Now()
	m.wire = make(chan struct{}, 1) // A channel belongs to the bubble it was made in.
	stations := []*station{m.station(modelOwn, modelMoved)}
	if m.engines {
		stations = append(stations, m.station(modelPeer))
	}
	for _, s := range stations {
		s.open(t)
	}
	stop := make(chan struct{})
	var others, callers sync.WaitGroup
	for _, s := range stations {
		others.Go(func() { s.disturb(t, stop) })
		for i := range m.callers {
			callers.Go(func() { m.call(s, i) })
		}
	}
	callers.Wait()
	close(stop)
	others.Wait()
	m.took = time.Since(begin)

	time.Sleep(10 * time.Second) // until all holds have ended
	synctest.Wait()
	for _, s := range stations {
		m.unfree = append(m.unfree, s.engine.Unfree()...)
		s.close(t)
	}
}

func (m *model) report(t *testing.T) {
	t.Helper()
	t.Logf("%s: seed %d: %d requests in %v: %d answered, %d WRONG, %d timed out, %d not acknowledged or outbid, %d stuck, %d busy, %d cancelled or closed, %d refused by the other engine",
		m.name, m.seed, m.started.Load(), m.took.Round(time.Second), m.answered.Load(), m.wrong.Load(), m.timeouts.Load(), m.unacknowledged.Load(),
		m.stuck.Load(), m.busy.Load(), m.gone.Load(), m.refused.Load())
	if again := m.ranAgain(); again > 0 {
		t.Logf("%d requests ran more than once", again)
	}
}

func (m *model) ranAgain() (again int) {
	for _, runs := range m.runs {
		if runs > 1 {
			again++
		}
	}
	return again
}

func (m *model) mustHold(t *testing.T) {
	t.Helper()
	seed := fmt.Sprintf("MODEL_SEED=%d MODEL_N=%d", m.seed, m.requests)
	if n := m.wrong.Load(); n > 0 {
		t.Errorf("%s: %d calls got another call's answer: %q", seed, n, m.wrongs)
	}
	if n := m.twice.Load(); n > 0 {
		t.Errorf("%s: %d calls ended twice", seed, n)
	}
	if started, ended := m.started.Load(), m.ended.Load(); started != ended {
		t.Errorf("%s: %d calls started, %d ended", seed, started, ended)
	}
	if n := m.others.Load(); n > 0 {
		t.Errorf("%s: %d calls ended with an error that is none of the engine's", seed, n)
	}
	for _, text := range m.unfree {
		t.Errorf("%s: at the end %s", seed, text)
	}
	if again := m.ranAgain(); again > 0 {
		t.Errorf("%s: %d requests ran more than once", seed, again)
	}
}

// draw is a source of random numbers that depends on the seed and on what it is
// for, and on nothing that goroutines do.
func (m *model) draw(purpose byte, what []byte, times uint64) *rand.Rand {
	return draw(m.seed, purpose, what, times)
}

func draw(seed uint64, purpose byte, what []byte, times uint64) *rand.Rand {
	h := seed ^ uint64(purpose)<<56
	for _, b := range what {
		h = (h ^ uint64(b)) * 0x100000001B3
	}
	return rand.New(rand.NewPCG(h, times))
}

// happens is true with a probability.
func (p perMille) happens(r *rand.Rand) bool { return r.IntN(1000) < int(p) }

// between is a time from the one to the other.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// station is an engine on the wire. It is the engine's transport while it is open.
type station struct {
	model     *model
	engine    *ipmb.Engine
	addresses []ipmi.Address

	inbox  inbox // of the transport
	cancel context.CancelFunc
	ran    chan struct{}
}

func (m *model) station(addresses ...ipmi.Address) *station {
	s := &station{model: m, addresses: addresses, inbox: newInbox()}
	s.engine = ipmb.New(ipmb.Config{Address: addresses[0], Handler: s, Effect: all(ipmi.HasEffect), UnsolicitedResponse: func(ipmb.Frame) {}})
	for _, a := range addresses {
		m.stations[a] = s
	}
	return s
}

func (s *station) open(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	closed, ran := make(chan struct{}), make(chan struct{})
	s.cancel, s.ran = cancel, ran
	go func() {
		defer close(ran)
		_ = s.engine.Run(ctx, opened{s, closed, new(sync.Once)})
	}()
	synctest.Wait()
}

func (s *station) close(*testing.T) {
	s.cancel()
	<-s.ran
}

// disturb reopens the device, moves the engine and sends broadcasts.
func (s *station) disturb(t *testing.T, stop chan struct{}) {
	r := s.model.draw('d', []byte{byte(s.addresses[0])}, 0)
	bad := s.model.bad
	pause := time.Second
	if bad.casts && !bad.moves {
		pause = 2 * expired // so that number 0 is usually free again
	}
	for n := 1; bad.reopens || bad.moves || bad.casts; n++ {
		select {
		case <-stop:
			return
		case <-time.After(between(r, pause/20, pause+pause/5)):
		}
		switch {
		case bad.reopens && n%8 == 0:
			s.close(t)
			if r.IntN(2) == 0 {
				_ = s.engine.Renew(ipmb.Config{Address: s.engine.Address(), Handler: s, Effect: all(ipmi.HasEffect), UnsolicitedResponse: func(ipmb.Frame) {}})
			}
			time.Sleep(between(r, 0, 100*ms))
			s.open(t)
		case bad.moves && n%8 == 4:
			s.engine.SetAddress(s.addresses[r.IntN(len(s.addresses))])
		case bad.casts && (n%4 == 1 || !bad.moves):
			data := binary.BigEndian.AppendUint64(nil, 1<<63)
			var lun ipmi.LUN
			if bad.mixedLUN {
				lun = ipmi.LUN(r.IntN(4))
			}
			_ = broadcast(t.Context(), s.engine, ipmi.NetFnApp, lun, ipmi.Command(r.IntN(s.model.commands)), data)
		}
	}
}

// ServeIPMI answers another engine.
func (s *station) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	m := s.model
	id := binary.BigEndian.Uint64(req.Data)
	m.mu.Lock()
	m.runs[id]++
	m.mu.Unlock()
	answer := func() { reply.Answer(ipmi.Response{Data: append([]byte(nil), req.Data...)}, nil) }
	r := m.draw('h', req.Data, 0)
	if m.bad.slow.happens(r) {
		time.AfterFunc(between(r, 100*ms, m.bad.slowest), answer)
		return
	}
	answer()
}

// opened is a station's device from its opening to its closing.
type opened struct {
	*station
	closed chan struct{}
	once   *sync.Once
}

func (o opened) Limits() i2c.Limits { return o.model.limits() }

func (o opened) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

func (o opened) ReadFrames(batch *i2c.Batch) error { return o.inbox.read(batch, o.closed) }

// WriteFrame carries a frame over the wire, to a node or to an engine.
func (o opened) WriteFrame(frame []byte) error {
	m := o.model
	frame = append([]byte(nil), frame...)
	m.mu.Lock()
	times := m.sent[string(frame)]
	m.sent[string(frame)]++
	m.mu.Unlock()
	r := m.draw('w', frame, times)
	err := m.carry(frame, r)
	switch {
	case err == i2c.ErrStuck: // The adapter's time-out; the wire is free.
		time.Sleep(between(r, 20*ms, time.Second))
	case m.bad.early.happens(r):
		time.Sleep(between(r, 0, 3*ms)) // The answer may come before the write returns.
	}
	return err
}

// carry is the way of a frame over the wire.
func (m *model) carry(frame []byte, r *rand.Rand) error {
	m.wire <- struct{}{}
	defer func() { <-m.wire }()
	time.Sleep(time.Duration(len(frame)) * m.byteTime)
	bad := &m.bad
	switch {
	case bad.absent.happens(r):
		return i2c.ErrAddressNotAcknowledged
	case bad.outbid.happens(r):
		return i2c.ErrArbitrationLost
	case bad.refuses.happens(r):
		if r.IntN(2) == 0 {
			m.arrive(frame, r)
		}
		return i2c.ErrNotAcknowledged
	case bad.sticks.happens(r):
		if r.IntN(2) == 0 {
			m.arrive(frame, r)
		}
		return i2c.ErrStuck
	case bad.loses.happens(r):
		return nil
	case bad.damages.happens(r):
		frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
	}
	m.arrive(frame, r)
	return nil
}

// arrive is a frame's arrival at its destination.
func (m *model) arrive(frame []byte, r *rand.Rand) {
	if s := m.stations[ipmi.Address(frame[0])]; s != nil {
		s.inbox.put(frame)
		if f, err := ipmb.Decode(frame); err == nil && f.NetFn.IsResponse() && m.bad.doubles.happens(r) {
			time.AfterFunc(between(r, m.bad.apart[0], m.bad.apart[1]), func() { s.inbox.put(frame) })
		}
		return
	}
	request, err := ipmb.Decode(frame)
	if err != nil || request.NetFn.IsResponse() {
		return
	}
	request.Data = append([]byte(nil), request.Data...)
	for i := range m.responders {
		if a := m.responder(i); request.Destination == a || request.Destination == 0 {
			m.answer(request, a, r)
		}
	}
}

// answer returns a node's answer to a request.
func (m *model) answer(request ipmb.Frame, node ipmi.Address, r *rand.Rand) {
	first := request.Response(ipmi.CodeOK, request.Data)
	first.Source = node
	var delay time.Duration
	switch {
	case request.Destination == 0:
		if delay = between(r, 1, 5*ms); r.IntN(2) == 0 {
			delay = between(r, 1, 3*time.Second)
		}
	case m.bad.slow.happens(r):
		delay = between(r, 100*ms, m.bad.slowest)
	case !m.bad.early.happens(r):
		delay = between(r, 1, 5*ms)
	}
	m.send(first, delay, r)
	if m.bad.seconds.happens(r) {
		// The node reads its sensor again: the answer is another one.
		second := first
		second.Data = append(append([]byte(nil), first.Data...), byte(r.Int()))
		m.send(second, delay+between(r, m.bad.apart[0], m.bad.apart[1]), r)
	}
}

// send has an answer arrive after a delay, in the way that the bus carries it.
func (m *model) send(answer ipmb.Frame, delay time.Duration, r *rand.Rand) {
	frame := answer.Append(nil)
	if m.bad.loses.happens(r) {
		return
	}
	if m.bad.damages.happens(r) {
		frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
	}
	s := m.stations[answer.Destination]
	double := m.bad.doubles.happens(r)
	apart := between(r, m.bad.apart[0], m.bad.apart[1])
	deliver := func() {
		s.inbox.put(frame)
		if double {
			time.AfterFunc(apart, func() { s.inbox.put(frame) })
		}
	}
	if delay == 0 {
		deliver()
		return
	}
	time.AfterFunc(delay, deliver)
}

// call makes calls, one after another, until all requests are made.
func (m *model) call(s *station, caller int) {
	ended := make(chan outcome, 16)
	c := ipmb.NewCall(func(response ipmi.Response, err error) {
		ended <- outcome{ipmi.Response{Code: response.Code, Data: append([]byte(nil), response.Data...)}, err}
	})
	for {
		id := m.ids.Add(1)
		if id > m.requests {
			return
		}
		r := m.draw('c', binary.BigEndian.AppendUint64(nil, id), 0)
		req := m.request(id, r)
		cancelled := time.Duration(-1)
		if m.bad.cancels.happens(r) {
			cancelled = between(r, 0, 50*ms)
		}
		how := m.exchange(s, c, ended, req, cancelled, r.IntN(8) < 2)
		m.count(id, how)
		if how.err != nil { // A call that fails at once must not loop.
			time.Sleep(between(r, 10*ms, 100*ms))
		}
		for len(ended) > 0 {
			<-ended
			m.twice.Add(1)
		}
	}
}

// request is a request with an id for data.
func (m *model) request(id uint64, r *rand.Rand) ipmb.Request {
	req := ipmb.Request{
		Responder: m.responder(r.IntN(m.responders)),
		NetFn:     ipmi.NetFnApp,
		Command:   ipmi.Command(r.IntN(m.commands)),
		Data:      binary.BigEndian.AppendUint64(nil, id),
		NoWait:    m.noWait.happens(r),
		FailFast:  r.IntN(4) == 0,
	}
	if m.bad.mixedLUN {
		req.LUN, req.RequesterLUN = ipmi.LUN(r.IntN(2)), ipmi.LUN(r.IntN(3))
	}
	if r.IntN(8) == 0 && (!m.quick || m.bad.doubles == 0) { // A doubt needs its time.
		req.RetryPolicy = ipmb.RetryPolicy{Tries: 1 + r.IntN(4), Timeout: between(r, 10*ms, 100*ms)}
	}
	return req
}

// outcome is how a call ended.
type outcome struct {
	ipmi.Response
	err error
}

// exchange makes one call, with Do or with c, and waits for its end.
func (m *model) exchange(s *station, c *ipmb.Call, ended chan outcome, req ipmb.Request, cancelled time.Duration, do bool) outcome {
	if m.engines {
		req.Responder = modelPeer
		if s.addresses[0] == modelPeer {
			req.Responder = modelOwn
		}
	}
	if do {
		ctx := context.Background()
		if cancelled >= 0 {
			soon, cancel := context.WithTimeout(ctx, cancelled)
			defer cancel()
			ctx = soon
		}
		response, err := s.engine.Do(ctx, req)
		return outcome{response, err}
	}
	if err := s.engine.Send(c, &req); err != nil {
		return outcome{err: err}
	}
	if cancelled >= 0 {
		select {
		case how := <-ended:
			return how
		case <-time.After(cancelled):
			c.Cancel()
		}
	}
	return <-ended
}

// count counts how a call ended.
func (m *model) count(id uint64, how outcome) {
	m.started.Add(1)
	defer m.ended.Add(1)
	switch err := how.err; {
	case err == nil && how.Code == ipmi.CodeNodeBusy:
		m.refused.Add(1) // by the engine that was asked
	case err == nil && len(how.Data) >= 8 && binary.BigEndian.Uint64(how.Data) == id:
		m.answered.Add(1)
	case err == nil:
		m.wrong.Add(1)
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.wrongs) < 10 {
			m.wrongs = append(m.wrongs, fmt.Sprintf("%d got %v", id, how.Response))
		}
	case errors.Is(err, ipmb.ErrTimeout):
		m.timeouts.Add(1)
	case errors.Is(err, ipmb.ErrNotAcknowledged), errors.Is(err, ipmb.ErrArbitrationLost):
		m.unacknowledged.Add(1)
	case errors.Is(err, ipmb.ErrStuck):
		m.stuck.Add(1)
	case errors.Is(err, ipmb.ErrBusy):
		m.busy.Add(1)
	case errors.Is(err, ipmb.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		m.gone.Add(1)
	default:
		m.others.Add(1)
	}
}
