package host

import (
	"slices"
	"time"

	"ipmbd/ipmi"
)

// pending is a request on its way to its answer, and the handler's Reply to it. The host
// counts its time from when it was read.
type pending struct {
	run     *run
	tag     uint8
	request ipmi.Request
	data    [32]byte // of the request, if that is enough

	// Guarded by the run's mutex.
	handling bool // the handler has not returned
	answered bool
	written  bool
	late     bool // answered for a handler that has missed the deadline
}

func newPending(r *run, req Request, now time.Time) *pending {
	p := &pending{run: r, tag: req.Tag}
	p.request = ipmi.Request{
		Interface: r.config.Interface, Channel: r.config.Channel, Host: r.config.Host,
		NetFn: req.NetFn, LUN: req.LUN, Command: req.Command, Data: slices.Clip(append(p.data[:0], req.Data...)),
		Deadline: now.Add(r.limits.Deadline),
	}
	return p
}

// take queues a request behind those that wait, or reports that it is the one to be
// served now.
func (r *run) take(p *pending) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.current == nil && len(r.queue) == 0:
		r.counts.add(requestsReceived)
		r.serves(p)
		return true
	case len(r.queue) < maxQueued:
		r.counts.add(requestsReceived)
		r.queue = append(r.queue, p)
	default:
		r.counts.add(requestsDropped)
	}
	return false
}

// next takes the next request to be served out of the queue, nil for none.
func (r *run) next() *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil || len(r.queue) == 0 || r.stopped {
		return nil
	}
	p := r.queue[0]
	r.queue = slices.Delete(r.queue, 0, 1)
	r.serves(p)
	return p
}

// serves makes a request the current one. A timer that runs is left alone: it ends at an
// earlier deadline and is set anew then, so that steady traffic does not touch it.
func (r *run) serves(p *pending) {
	r.current, p.handling = p, true
	if !r.armed {
		r.armed = true
		r.deadline.Reset(time.Until(p.request.Deadline))
	}
}

// begin hands the current request to the handler, if it is not too late for that.
func (r *run) begin(p *pending, now time.Time) {
	switch {
	case !now.Before(p.request.Deadline):
		r.refuse(p, ipmi.CodeTimeout, handlersTooSlow)
	case r.tooManyLate():
		r.refuse(p, ipmi.CodeNodeBusy, handlersBusy)
	default:
		ipmi.Serve(r.config.Handler, &p.request, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.handling = false
	r.release(p)
}

func (r *run) tooManyLate() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late >= maxLate
}

// refuse answers a request without the handler.
func (r *run) refuse(p *pending, code ipmi.CompletionCode, why counter) {
	r.counts.add(why)
	r.settle(p, ipmi.Response{Code: code})
	r.writeDirect()
}

// Answer implements ipmi.Reply. It writes the answer, where that needs no wait.
func (p *pending) Answer(response ipmi.Response, err error) bool {
	r := p.run
	if err != nil {
		response = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	if !r.settle(p, response) {
		r.counts.add(answersLate)
		return false
	}
	if err != nil && !ipmi.NotServed(err) {
		r.counts.add(handlersFailed)
	}
	r.writeDirect()
	r.config.Served(&p.request, response.Code, err)
	return true
}

// settle makes a response the answer to the current request, if it has none yet.
func (r *run) settle(p *pending, response ipmi.Response) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.answered || r.stopped {
		if p.late {
			p.late = false
			r.late--
		}
		return false
	}
	if len(response.Data) > r.limits.MaxData {
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrResponseTooLong)}
	}
	p.answered = true
	r.room = append(r.room[:0], response.Data...)
	r.answer, r.response = p, ipmi.Response{Code: response.Code, Data: r.room}
	return true
}

// expire answers for a handler that has missed the deadline. If it is too early for the
// current request, it sets the timer anew.
func (r *run) expire() {
	p := r.missed(time.Now())
	if p == nil {
		return
	}
	r.counts.add(handlersTooSlow)
	r.config.Served(&p.request, ipmi.CodeTimeout, ipmi.ErrTooSlow)
}

// missed is the current request, answered, if its handler has missed the deadline.
func (r *run) missed(now time.Time) *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.current
	r.armed = false
	if p == nil || p.answered {
		return nil
	}
	if left := p.request.Deadline.Sub(now); left > 0 {
		r.armed = true
		r.deadline.Reset(left)
		return nil
	}
	p.answered, p.late = true, true
	r.late++
	r.answer, r.response = p, ipmi.Response{Code: ipmi.CodeTimeout}
	return p
}

// release lets the next request be served, when the handler has returned and the answer
// is written.
func (r *run) release(p *pending) {
	if p.handling || !p.written || r.current != p {
		return
	}
	r.current = nil
	if len(r.queue) > 0 {
		r.wake()
	}
}
