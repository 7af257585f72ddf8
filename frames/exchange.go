package frames

import (
	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// exchange is a request of a client on its way. It is used again for the next.
type exchange struct {
	peer    *peer
	call    *bus.Call
	index   uint8
	head    [headBytes]byte
	frame   ipmb.Frame // as the client sent it, without its data
	request ipmb.Request
}

func newExchange(p *peer) *exchange {
	x := &exchange{peer: p}
	x.call = bus.NewCall(&p.client, x.ended)
	return x
}

// send sends a client's frame, which is in a packet, to a bus.
func (x *exchange) send(to *bus.Bus, packet []byte, frame ipmb.Frame) {
	x.index, x.frame = packet[0], frame
	x.frame.Data = nil
	copy(x.head[:], packet[requestHead:])
	x.request = wireRequest(frame)
	if err := to.Send(x.call, &x.request); err != nil {
		x.ended(ipmi.Response{}, err)
	}
}

// ended is told how the request ended.
func (x *exchange) ended(r ipmi.Response, err error) { x.peer.end(x, r, err) }
