package ipmb

import (
	"errors"

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
		e.counts.Count(dropCounter(err))
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

// generalCall decodes a request to all nodes: address 00h, then a complete frame. Get Device ID is
// the one command that may come so.
func generalCall(b []byte) (f Frame, ok bool) {
	if len(b) <= MinRequest || b[0] != uint8(broadcastAddress) {
		return Frame{}, false
	}
	f, err := Decode(b[1:])
	return f, err == nil && f.NetFn == ipmi.NetFnApp && f.Command == ipmi.CommandGetDeviceID
}

func dropCounter(err error) counter {
	switch {
	case errors.Is(err, ErrHeaderChecksum):
		return droppedHeaderChecksum
	case errors.Is(err, ErrBodyChecksum):
		return droppedBodyChecksum
	}
	return droppedShort
}

// receiveResponse gives a response to the call that waits for it. That call has the response's
// responder, network function, LUNs, command and sequence number, and was sent from the address to
// which the response comes. Any other response is dropped, unless it is for
// Config.UnsolicitedResponse.
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

// isUnsolicited reports whether a response that no call waits for is given to
// Config.UnsolicitedResponse. A response that may be a copy of one to a request of ours is not:
// with the number that we gave the request it would be taken for another request's response.
func (e *Engine) isUnsolicited(r *responder, f Frame) bool {
	return e.config.UnsolicitedResponse != nil &&
		f.DestinationLUN == ipmi.SMSLUN && f.Destination == e.address && f.Source.IsSlave() &&
		(r == nil || !r.hadSMS || e.now()-r.smsAt >= holdTime)
}
