package host

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"ipmbd/ipmi"
)

const (
	// maxQueued is how many requests wait for those before them; more are dropped. A host has
	// one request outstanding, on SSIF a few at its start.
	maxQueued = 16
	// maxLate is how many handlers may be late before requests are refused with C0h, node busy.
	maxLate = 8
	// yieldEvery is how often the goroutine that reads calls the scheduler. When a goroutine
	// has run for 10 ms without doing so, the runtime's monitor thread (sysmon) preempts it,
	// and then polls every 20 µs for a while, which costs more CPU time than the requests.
	yieldEvery = 5 * time.Millisecond
)

// run is a Loop on a Port. Two goroutines work for it: readRequests reads requests and calls the
// handler; serve does everything that may wait. The goroutine in which the handler replies writes
// the response if the Port can do that without a wait.
type run struct {
	*Loop
	port     Port
	limits   Limits
	cancel   context.CancelCauseFunc
	work     chan struct{} // wakes serve
	deadline *time.Timer   // of the current request

	// mu guards the state below. It is not held while the handler, the Port or a function of
	// Config is called.
	mu      sync.Mutex
	stopped bool
	queue   []*pending // the first is the current request
	late    int        // handlers that missed the deadline and have not replied yet
	armed   bool       // deadline runs

	response Response // to current
	data     []byte   // memory for the data of response
	left     part     // of response, to be written
	writing  bool     // a goroutine uses the Port
	written  sync.Cond
	shown    ipmi.Attention // the attention that the host sees; set by the goroutine that is writing
}

// part is a part of a response.
type part int

const (
	nothing part = iota
	allOfIt
	restOfIt // that Port.Write has left to Port.Finish
)

// pending is a request that has no response yet, and the handler's Reply to it. The time that the
// host gives it begins when it is read.
type pending struct {
	run     *run
	tag     uint8
	request ipmi.Request
	data    [32]byte // of the request, if that is enough

	// Guarded by the run's mutex.
	begun    bool // handleRequest has it, or had it
	busy     bool // it will be refused: too many handlers are late
	handled  bool // the handler has returned
	answered bool // there is a response
	late     bool // it is C3h, and the handler has not replied yet
}

func newRun(l *Loop, p Port, cancel context.CancelCauseFunc) *run {
	r := &run{
		Loop: l, port: p, limits: p.Limits(), cancel: cancel,
		work: make(chan struct{}, 1), deadline: time.NewTimer(time.Hour),
	}
	r.limits.Deadline = cmp.Or(l.config.Deadline, r.limits.Deadline)
	r.written.L = &r.mu
	r.deadline.Stop()
	return r
}

// dropReplies makes the run drop the replies to come.
func (r *run) dropReplies() {
	r.deadline.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// readRequests reads requests off the Port until that fails.
func (r *run) readRequests() error {
	var yielded time.Time
	for {
		req, err := r.port.Read()
		if err != nil {
			return err
		}
		now := time.Now()
		r.handleRequest(r.enqueue(r.newPending(req, now)), now)
		if now.Sub(yielded) > yieldEvery {
			yielded = now
			runtime.Gosched()
		}
	}
}

func (r *run) newPending(req Request, now time.Time) *pending {
	p := &pending{run: r, tag: req.Tag}
	p.request = ipmi.Request{
		Interface: r.config.Interface, Channel: r.config.Channel, Host: r.config.Host,
		NetFn: req.NetFn, LUN: req.LUN, Command: req.Command, Data: slices.Clip(append(p.data[:0], req.Data...)),
		Deadline: now.Add(r.limits.Deadline),
	}
	return p
}

// enqueue puts a request into the queue, unless that is full, and returns the one to be handled
// now.
func (r *run) enqueue(p *pending) *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > maxQueued {
		r.counts.Count(requestsDropped)
		return nil
	}
	r.counts.Count(requestsReceived)
	r.queue = append(r.queue, p)
	return r.beginCurrent()
}

// beginCurrent returns the current request if it has not begun, else nil. The caller holds the
// mutex. It leaves a running timer alone: the timer fires at an earlier deadline and is then set
// again, so that steady traffic does not touch it.
func (r *run) beginCurrent() *pending {
	if len(r.queue) == 0 || r.queue[0].begun || r.stopped {
		return nil
	}
	p := r.queue[0]
	p.begun, p.busy = true, r.late >= maxLate
	if !r.armed {
		r.armed = true
		r.deadline.Reset(time.Until(p.request.Deadline))
	}
	return p
}

// handleRequest calls the handler with a request that has begun, if it is not nil, unless it is
// too late for that or too many handlers are late.
func (r *run) handleRequest(p *pending, now time.Time) {
	switch {
	case p == nil:
		return
	case !now.Before(p.request.Deadline):
		r.counts.Count(handlersTooSlow)
		r.respond(p, ipmi.Response{Code: ipmi.CodeTimeout})
	case p.busy:
		r.counts.Count(handlersBusy)
		r.respond(p, ipmi.Response{Code: ipmi.CodeNodeBusy})
	default:
		ipmi.Serve(r.config.Handler, &p.request, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.handled = true
	r.releaseCurrent()
}

// Answer implements ipmi.Reply.
func (p *pending) Answer(response ipmi.Response, err error) bool {
	r := p.run
	if err != nil {
		response = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	if !r.respond(p, response) {
		r.counts.Count(responsesLate)
		return false
	}
	if err != nil && !ipmi.NotServed(err) {
		r.counts.Count(handlersFailed)
	}
	r.config.Served(&p.request, response.Code, err)
	return true
}

// respond sets the response of the current request, and writes it if that needs no wait. It
// returns false if the request has a response already.
func (r *run) respond(p *pending, response ipmi.Response) bool {
	attention := r.config.Attention()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.answered || r.stopped {
		if p.late {
			p.late = false
			r.late--
		}
		return false
	}
	r.setResponse(p, response)
	if r.writing || attention != r.shown {
		r.wake()
		return true
	}
	r.writing = true
	r.mu.Unlock()
	r.counts.Count(responsesWritten)
	done, err := r.port.Write(r.response)
	if err != nil {
		r.cancel(err)
	}
	r.mu.Lock()
	if r.left = nothing; !done && err == nil {
		r.left = restOfIt
		r.wake()
	}
	r.hasWritten()
	return true
}

// setResponse sets the response to the current request, for the writer.
func (r *run) setResponse(p *pending, response ipmi.Response) {
	if len(response.Data) > r.limits.MaxData {
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrResponseTooLong)}
	}
	p.answered = true
	r.data = append(r.data[:0], response.Data...)
	r.left, r.response = allOfIt, Response{
		Tag: p.tag, NetFn: p.request.NetFn.Response(), LUN: p.request.LUN, Command: p.request.Command,
		Code: response.Code, Data: r.data,
	}
}

// hasWritten notes that the Port is free.
func (r *run) hasWritten() {
	r.writing = false
	r.written.Signal()
	r.releaseCurrent()
}

// releaseCurrent ends the current request if its handler has returned and its response is written.
func (r *run) releaseCurrent() {
	if len(r.queue) == 0 || !r.queue[0].handled || !r.queue[0].answered || r.left != nothing || r.writing {
		return
	}
	r.queue = slices.Delete(r.queue, 0, 1)
	if len(r.queue) > 0 {
		r.wake()
	}
}

// wake makes serve look for something to do.
func (r *run) wake() {
	select {
	case r.work <- struct{}{}:
	default: // It has been woken already.
	}
}

// serve does everything that may wait, until ctx ends.
func (r *run) serve(ctx context.Context) {
	for {
		var changed bool
		var t task
		select {
		case <-ctx.Done():
			return
		case <-r.work:
		case <-r.deadline.C:
			r.expireCurrent()
		case <-r.changed:
			changed = true
		case t = <-r.tasks:
		}
		next, err := r.usePort(changed, t)
		if err != nil {
			r.cancel(err)
		}
		r.handleRequest(next, time.Now())
	}
}

// usePort uses the Port, and may wait: it writes the rest of a response, does the task if there is
// one, shows the attention if it may have changed, and writes a response, after the attention of
// that moment. It returns the next request for the handler, or nil.
func (r *run) usePort(changed bool, t task) (next *pending, err error) {
	r.mu.Lock()
	for r.writing { // This takes no time: a goroutine that brings a response does not wait.
		r.written.Wait()
	}
	r.writing = true
	left := r.left
	r.mu.Unlock()
	if left == restOfIt {
		err = r.port.Finish()
	}
	if t.do != nil {
		t.done <- t.do(r.port)
	}
	if err == nil && (changed || left == allOfIt) {
		err = r.showAttention(r.config.Attention())
	}
	if err == nil && left == allOfIt {
		err = r.writeWhole()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if left != nothing { // Else a response may have come meanwhile.
		r.left = nothing
	}
	r.hasWritten()
	return r.beginCurrent(), err
}

// showAttention shows the host an attention, if that has changed.
func (r *run) showAttention(a ipmi.Attention) error {
	if a == r.shown {
		return nil
	}
	r.shown = a
	return r.port.SetAttention(a)
}

// writeWhole writes the response.
func (r *run) writeWhole() error {
	r.counts.Count(responsesWritten)
	done, err := r.port.Write(r.response)
	if err != nil || done {
		return err
	}
	return r.port.Finish()
}

// expireCurrent responds C3h for a handler that has missed the deadline. If it is too early for
// the current request, it sets the timer again.
func (r *run) expireCurrent() {
	r.mu.Lock()
	r.armed = len(r.queue) > 0 && r.queue[0].begun && !r.queue[0].answered
	if !r.armed {
		r.mu.Unlock()
		return
	}
	p := r.queue[0]
	wait := time.Until(p.request.Deadline)
	if wait > 0 {
		r.deadline.Reset(wait)
	} else {
		r.armed, p.late = false, true
		r.late++
		r.setResponse(p, ipmi.Response{Code: ipmi.CodeTimeout})
	}
	r.mu.Unlock()
	if wait <= 0 {
		r.counts.Count(handlersTooSlow)
		r.config.Served(&p.request, ipmi.CodeTimeout, ipmi.ErrTooSlow)
	}
}
