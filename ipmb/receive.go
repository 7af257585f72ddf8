package ipmb

import (
	"context"
	"errors"
	"slices"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// readFrames is the loop that reads. It returns the reason why the transport has ended.
func (e *Engine) readFrames(t i2c.Transport) error {
	var batch i2c.Batch
	e.config.Reading(true)
	for {
		if err := t.ReadFrames(&batch); err != nil {
			e.config.Reading(false)
			return err
		}
		e.reading.Lock()
		e.mu.Lock()
		e.batch++
		e.readAt = e.now()
		e.mu.Unlock()
		if e.frames = batch.Frames(); len(e.frames) > 1 {
			e.config.Together(e.handleFrames)
		} else {
			e.receiveFrames()
		}
		e.reading.Unlock()
	}
}

func (e *Engine) receiveFrames() {
	for _, b := range e.frames {
		e.receiveFrame(b)
	}
}

func (e *Engine) receiveFrame(b []byte) {
	e.counts.Count(framesReceived)
	if f, ok := generalCall(b); ok {
		e.config.Received(f)
		e.receiveRequest(f, b[1:], nil)
		return
	}
	f, err := Decode(b)
	if err != nil {
		e.countOutcome(decodeOutcomes, err)
		return
	}
	e.config.Received(f)
	switch {
	case f.NetFn.IsResponse():
		if isUnsolicited := e.receiveResponse(f); isUnsolicited {
			e.config.UnsolicitedResponse(f)
		}
	case f.Destination == broadcastAddress:
		e.counts.Count(droppedBroadcast)
	default:
		e.receiveRequest(f, b, nil)
	}
}

// broadcastAddress is the I2C general call address.
const broadcastAddress ipmi.Address = 0x00

// generalCall decodes address 00h and a frame: Get Device ID, the one command for all nodes.
func generalCall(b []byte) (f Frame, ok bool) {
	if len(b) <= MinRequest || b[0] != uint8(broadcastAddress) {
		return Frame{}, false
	}
	f, err := Decode(b[1:])
	return f, err == nil && f.NetFn == ipmi.NetFnApp && f.Command == ipmi.CommandGetDeviceID
}

// receiveResponse gives a response to the call that waits for it: the responder, network function,
// LUNs, command, sequence number and our own address must match. It drops other responses, or
// gives them to Config.UnsolicitedResponse.
func (e *Engine) receiveResponse(f Frame) (isUnsolicited bool) {
	e.mu.Lock()
	defer e.unlock()
	r := e.responders[f.Source>>1]
	if r != nil && f.Source.IsSlave() {
		n := &r.numbers[f.Sequence]
		// A response that was read before the request was sent is not the request's.
		if c := n.call; c != nil && n.sentIn != e.batch && !n.shared && c.isAnsweredBy(f) {
			if e.copyTime != 0 || e.believeResponse(c, f) {
				e.answerCall(c, ipmi.Response{Code: f.Code, Data: f.Data}, e.readAt)
			}
			return false
		}
		if e.dropLateResponse(r, f) {
			e.counts.Count(responsesLate)
			return false
		}
	}
	if e.isUnsolicited(r, f) {
		e.counts.Count(responsesUnsolicited)
		return true
	}
	e.counts.Count(responsesUnexpected)
	return false
}

// isUnsolicited reports whether a response that no call waits for goes to
// Config.UnsolicitedResponse. A possible copy of a response to a request of ours does not: the
// number that we gave the request would make it look like the response to another request.
func (e *Engine) isUnsolicited(r *responder, f Frame) bool {
	return e.config.UnsolicitedResponse != nil &&
		f.DestinationLUN == ipmi.SMSLUN && f.Destination == e.address && f.Source.IsSlave() &&
		(r == nil || !r.hadSMS || e.now()-r.smsAt >= holdTime)
}

// slots limits how many requests may be in handlers.
type slots struct{ limit, used int }

// Submit serves a request that came without a frame, because a driver has decoded it. The request
// is served once, like one from the bus; a repeat gets the response again. The engine fills in
// Interface, Channel, Host and Deadline. It does not keep req or its Data.
//
// The goroutine that writes calls respond with the response: the completion code and the data,
// valid until respond returns. It calls respond again if that fails, and for repeats. respond
// returns errors like i2c.Transport.WriteFrame. The transport must not be an i2c.DirectWriter.
//
// The goroutine that reads calls Submit, in the transport's ReadFrames.
func (e *Engine) Submit(req *ipmi.Request, respond func(response []byte) error) {
	e.reading.Lock()
	defer e.reading.Unlock()
	e.counts.Count(framesReceived)
	f := Frame{
		Source: req.Requester, SourceLUN: req.RequesterLUN, Sequence: req.Sequence,
		NetFn: req.NetFn, DestinationLUN: req.LUN, Command: req.Command, Data: req.Data,
	}
	e.receiveRequest(f, f.Append(make([]byte, 0, f.Len())), respond)
}

// receiveRequest has a request that is meant for us served, or drops it. raw is the frame. respond
// is the function of Submit, nil for a request from the bus.
func (e *Engine) receiveRequest(f Frame, raw []byte, respond func([]byte) error) {
	e.asked = e.requestOf(f)
	effect, bridgeTimeout := e.config.Effect(&e.asked), e.config.BridgeTimeout(f)
	var admitted *entry
	e.mu.Lock()
	switch {
	case respond == nil && f.Destination != e.address:
		e.counts.Count(droppedForeign)
	case !f.Source.IsSlave(), respond == nil && f.Source == e.address:
		e.counts.Count(droppedRequester)
	default:
		admitted = e.admitRequest(f, raw, effect, bridgeTimeout, respond)
	}
	e.unlock()
	if admitted != nil {
		ipmi.Serve(e.config.Handler, &admitted.request, admitted)
	}
}

// requestOf is the request in a frame.
func (e *Engine) requestOf(f Frame) ipmi.Request {
	return ipmi.Request{
		Interface: e.config.Interface, Channel: e.config.Channel, Host: e.config.Host,
		Requester: f.Source, RequesterLUN: f.SourceLUN, Sequence: f.Sequence,
		NetFn: f.NetFn, LUN: f.DestinationLUN, Command: f.Command, Data: f.Data,
	}
}

// admitRequest drops or answers a request, or returns the entry that the handler serves.
func (e *Engine) admitRequest(f Frame, raw []byte, effect ipmi.Effect, bridgeTimeout time.Duration,
	respond func([]byte) error) *entry {
	if !e.running {
		e.counts.Count(droppedStopping)
		return nil
	}
	now := e.now()
	if n := e.requests.findRepeat(f, raw, effect, e.beingWritten(), now); n != nil {
		e.answerRepeat(n)
		return nil
	}
	switch {
	case e.drained != nil:
		e.counts.Count(droppedStopping)
		return nil
	case e.outbox.pending >= e.config.MaxResponses:
		e.counts.Count(droppedResponsesFull)
		return nil
	}
	e.counts.Count(requestsReceived)
	n := &entry{engine: e, key: requestKeyOf(f), effect: effect, request: e.requestOf(f), respond: respond}
	n.owner = n
	n.frame = append(n.frameRoom[:0], raw...)
	n.request.Data = slices.Clip(n.frame[MinRequest-1 : len(n.frame)-1])
	timeout := e.config.HandlerTimeout
	n.slots = &e.handlers
	if bridgeTimeout > 0 {
		n.slots, timeout = &e.bridging, bridgeTimeout
	}
	if n.slots.used >= n.slots.limit {
		e.counts.Count(handlersBusy)
		e.sendResponse(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrBusy)})
		return nil
	}
	e.requests.addEntry(n)
	e.setDeadline(&n.deadline, now+timeout)
	n.request.Deadline = e.epoch.Add(now + timeout)
	n.slots.used++
	e.unanswered++
	return n
}

// Answer implements ipmi.Reply. It answers the request, unless the deadline has done so.
func (n *entry) Answer(response ipmi.Response, err error) bool {
	e := n.engine
	e.mu.Lock()
	accepted := e.acceptAnswer(n, response, err)
	served := e.config.Served
	e.unlock()
	switch {
	case !accepted, errors.Is(err, ipmi.ErrDeferred):
	case err != nil:
		served(&n.request, ipmi.CodeOf(err), err)
	default:
		served(&n.request, response.Code, nil)
	}
	return accepted
}

// acceptAnswer takes the answer of a handler, and reports whether it counts.
func (e *Engine) acceptAnswer(n *entry, response ipmi.Response, err error) bool {
	switch isDeferred := errors.Is(err, ipmi.ErrDeferred); {
	case isDeferred && (n.answered || n.deferred): // by StartRespond already
		return false
	case n.answered || n.deferred:
		e.counts.Count(handlerResponsesLate)
		return false
	case isDeferred:
		e.deferRequest(n)
		return true
	}
	e.clearDeadline(&n.deadline)
	e.freeSlot(n)
	if err != nil {
		e.countFailure(err)
		response = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	if ipmi.NotServed(err) {
		e.requests.removeEntry(n)
		e.sendResponse(n, response)
	} else {
		e.keepAndSendResponse(n, response)
	}
	e.checkDrained()
	return true
}

// freeSlot gives back the place of a request in the handlers.
func (e *Engine) freeSlot(n *entry) {
	n.slots.used--
	e.unanswered--
}

func (e *Engine) countFailure(err error) {
	switch {
	case errors.Is(err, ipmi.ErrDenied):
		e.counts.Count(requestsDenied)
	case ipmi.NotServed(err):
	case errors.Is(err, ipmi.ErrTooSlow), errors.Is(err, context.DeadlineExceeded):
		e.counts.Count(handlersTooSlow)
	default:
		e.counts.Count(handlersFailed)
	}
}

// expire answers for a handler that has missed its deadline. Its own answer is dropped later.
func (n *entry) expire(e *Engine, now time.Duration) {
	e.counts.Count(handlersTooSlow)
	if n.deferred {
		e.deferrals--
	} else {
		e.freeSlot(n)
	}
	if n.isStale(now) {
		e.forgetRequest(n)
	} else {
		e.keepAndSendResponse(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrTooSlow)})
	}
	served := e.config.Served
	e.callLater(func() { served(&n.request, ipmi.CodeOf(ipmi.ErrTooSlow), ipmi.ErrTooSlow) })
	e.checkDrained()
}

// keepAndSendResponse answers a request that was served, and keeps the response for repeats.
func (e *Engine) keepAndSendResponse(n *entry, response ipmi.Response) {
	if !n.superseded {
		e.requests.keepResponse(n, e.now())
	}
	e.sendResponse(n, response)
}

// sendResponse sends the response to a request, unless another request has its number meanwhile.
func (e *Engine) sendResponse(n *entry, response ipmi.Response) {
	n.answered = true
	if n.superseded {
		e.counts.Count(requestsSuperseded)
		return
	}
	if e.limits.MaxFrame < MinResponse+len(response.Data) {
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrResponseTooLong)}
	}
	if n.respond != nil {
		n.response = append(append(n.responseRoom[:0], byte(response.Code)), response.Data...)
	} else {
		request, _ := Decode(n.frame) // It was decoded before.
		f := request.Response(response.Code, response.Data)
		n.response = f.Append(slices.Grow(n.responseRoom[:0], f.Len()))
	}
	if e.running {
		e.deliverResponse(n)
	} else {
		n.lost = true
		e.requests.dropUnkept(n)
	}
}

// deferRequest leaves a request to StartRespond, until its deadline.
func (e *Engine) deferRequest(n *entry) {
	e.freeSlot(n)
	if e.deferrals >= e.config.MaxResponses {
		e.clearDeadline(&n.deadline)
		e.requests.removeEntry(n)
		e.counts.Count(handlersBusy)
		e.sendResponse(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrBusy)})
		return
	}
	n.deferred = true
	e.deferrals++
	e.counts.Count(requestsDeferred)
	if e.drained != nil {
		e.abandonRequest(n)
	}
	e.checkDrained()
}

// answerWith makes a response of StartRespond the one to a request, deferred or about to be.
func (e *Engine) answerWith(n *entry, d *delivery) {
	e.clearDeadline(&n.deadline)
	if n.deferred {
		e.deferrals--
	} else {
		e.freeSlot(n)
	}
	n.deferred = true
	n.response, n.delivering = d.frame, true
	d.entry = n
	e.requests.keepResponse(n, e.now())
}

// abandonRequest answers a deferred request to which StartRespond will not respond any more.
func (e *Engine) abandonRequest(n *entry) {
	e.clearDeadline(&n.deadline)
	e.deferrals--
	if n.isStale(e.now()) {
		e.forgetRequest(n)
	} else {
		e.keepAndSendResponse(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrAbandoned)})
	}
}

// staleTime is how long after its deadline a request may still be answered.
const staleTime = time.Second

// isStale reports whether the deadline has passed long ago: the number may be in use again.
func (n *entry) isStale(now time.Duration) bool { return now-n.at >= staleTime }

// forgetRequest drops a request without a response.
func (e *Engine) forgetRequest(n *entry) {
	n.answered = true
	e.counts.Count(responsesLost)
	e.requests.removeEntry(n)
}
