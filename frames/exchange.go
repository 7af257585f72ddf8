package frames

import (
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// exchange is a request of a client on its way. It is used again for the next.
type exchange struct {
	peer    *peer
	call    *ipmb.Call
	bus     Bus
	index   uint8
	frame   ipmb.Frame // as the client sent it, without its data
	request ipmb.Request
}

func newExchange(p *peer) *exchange {
	x := &exchange{peer: p}
	x.call = ipmb.NewCall(x.ended)
	return x
}

// send sends a client's frame to a bus.
func (x *exchange) send(bus Bus, index uint8, frame ipmb.Frame) {
	x.bus, x.index, x.frame = bus, index, frame
	x.frame.Data = nil
	x.request = wireRequest(frame)
	if err := bus.Send(x.call, &x.request); err != nil {
		x.peer.fail(x, err)
	}
}

// ended is told by the engine how the request ended.
func (x *exchange) ended(r ipmi.Response, err error) {
	x.bus.Ended()
	if err != nil {
		x.peer.fail(x, err)
		return
	}
	x.peer.answer(x, r)
}
