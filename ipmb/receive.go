package ipmb

import (
	"errors"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// receive is the one reader. It returns why the transport has ended.
func (e *Engine) receive(t i2c.Transport) error {
	var batch i2c.Batch
	for {
		if err := t.ReadFrames(&batch); err != nil {
			return err
		}
		e.receiveBatch(&batch)
	}
}

func (e *Engine) receiveBatch(batch *i2c.Batch) {
	e.receiving.Lock()
	defer e.receiving.Unlock()
	e.mu.Lock()
	e.batch++
	e.readAt = e.now()
	e.mu.Unlock()
	e.frames = batch.Frames()
	if len(e.frames) > 1 {
		e.config.Together(e.takeFrames)
	} else {
		e.receiveFrames()
	}
}

func (e *Engine) receiveFrames() {
	for _, b := range e.frames {
		e.receiveFrame(b)
	}
}

func (e *Engine) receiveFrame(b []byte) {
	e.counts.add(framesReceived)
	if f, ok := generalCall(b); ok {
		b = b[1:]
		e.config.Received(f)
		e.receiveRequest(f, b)
		return
	}
	f, err := Decode(b)
	if err != nil {
		e.counts.add(dropCounter(err))
		return
	}
	e.config.Received(f)
	switch {
	case f.NetFn.IsResponse():
		if e.receiveResponse(f) == stray {
			e.config.UnsolicitedResponse(f)
		}
	case f.Destination == broadcastAddress:
		e.counts.add(droppedBroadcast)
	default:
		e.receiveRequest(f, b)
	}
}

// broadcastAddress is the I2C general call address.
const broadcastAddress ipmi.Address = 0x00

// generalCall recognises a request to all nodes: address 00h, then a complete
// frame. Get Device ID is the one command that may come so.
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

// fate is what becomes of a response.
type fate uint8

const (
	taken fate = iota // by a call, or as one that is late for it
	dropped
	stray // for the reader of our LUN 2
)

// receiveResponse gives a response to the call that waits for it: the one whose
// responder, network function, LUNs, command and number it has, sent from the address
// that it comes to. Any other is dropped, unless it is a stray.
func (e *Engine) receiveResponse(f Frame) fate {
	e.mu.Lock()
	defer e.unlock()
	r := e.responders[f.Source>>1]
	if r != nil && f.Source.IsSlave() {
		n := &r.numbers[f.Sequence]
		c := n.call
		switch {
		// What was read before the request was sent is not its answer.
		case c != nil && n.sentIn != e.batch && !n.shared && c.isAnsweredBy(f):
			if e.copyTime == 0 && !e.believe(c, f) {
				return taken
			}
			e.answered(c, ipmi.Response{Code: f.Code, Data: f.Data}, e.readAt)
			return taken
		case e.late(r, f):
			e.counts.add(responsesLate)
			return taken
		}
	}
	if e.isStray(r, f) {
		e.counts.add(responsesStray)
		return stray
	}
	e.counts.add(responsesUnexpected)
	return dropped
}

// isStray reports whether a response that no call waits for is to be passed on.
// While it may be a copy of an answer to a request of ours it is not: with the
// number that we gave the request it would be taken for another one's answer.
func (e *Engine) isStray(r *responder, f Frame) bool {
	return e.config.UnsolicitedResponse != nil && f.DestinationLUN == ipmi.SMSLUN && f.Destination == e.address &&
		f.Source.IsSlave() && (r == nil || !r.messaged || e.now()-r.lastMessage >= holdTime)
}

// isAnsweredBy reports whether f, which has the call's number and comes from
// its responder, is its answer.
func (c *Call) isAnsweredBy(f Frame) bool {
	return c.slotEnd != 0 &&
		c.key == keyOf(f.NetFn.Request(), f.Command) &&
		c.lun == f.SourceLUN &&
		c.requesterLUN == f.DestinationLUN &&
		c.source == f.Destination
}

// receiveRequest takes a request that is meant for us, or drops it.
func (e *Engine) receiveRequest(f Frame, raw []byte) {
	e.asked = ipmi.Request{
		Interface: e.config.Interface, Channel: e.config.Channel, Host: e.config.Host,
		NetFn: f.NetFn, LUN: f.DestinationLUN, Command: f.Command, Data: f.Data,
	}
	effect := e.config.Effect(&e.asked)
	var patience time.Duration
	if e.config.BridgeTimeout != nil {
		patience = e.config.BridgeTimeout(f)
	}
	e.mu.Lock()
	var admitted *entry
	switch {
	case f.Destination != e.address:
		e.counts.add(droppedForeign)
	case !f.Source.IsSlave() || f.Source == e.address:
		e.counts.add(droppedRequester)
	default:
		admitted = e.admitRequest(f, raw, effect, patience, nil)
	}
	e.unlock()
	if admitted != nil {
		e.serve(admitted)
	}
}
