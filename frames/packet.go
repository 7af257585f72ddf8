package frames

import "ipmbd/ipmb"

const (
	// MaxFrame is the length of the longest frame in a packet, in bytes: the longest that any of
	// ipmbd's transports sends.
	MaxFrame = 1024

	requestHead = 1 // bytes before the frame
	answerHead  = 2
	headBytes   = 6 // of a request's frame, in a packet that says that the request has failed
	maxRequest  = requestHead + MaxFrame

	// network is package net's name of SOCK_SEQPACKET.
	network = "unixpacket"
)

// parseRequest parses a packet of a client. The data of the frame are a view. A status other than
// StatusOK says what is wrong with the packet; the index is 0 if the packet has none.
func parseRequest(packet []byte) (index uint8, frame ipmb.Frame, status ipmb.Status) {
	if len(packet) == 0 {
		return 0, ipmb.Frame{}, ipmb.StatusInvalid
	}
	index = packet[0]
	if len(packet) > maxRequest {
		return index, ipmb.Frame{}, ipmb.StatusTooLong
	}
	frame, err := ipmb.Decode(packet[requestHead:])
	if err != nil || frame.NetFn.IsResponse() || !frame.Destination.IsSlave() {
		return index, ipmb.Frame{}, ipmb.StatusInvalid
	}
	return index, frame, ipmb.StatusOK
}

// headOf returns the first bytes of the frame in a request packet, which name it in a failure.
func headOf(packet []byte) []byte {
	if len(packet) <= requestHead {
		return nil
	}
	return packet[requestHead:min(len(packet), requestHead+headBytes)]
}

// busRequest returns the request that a bus is to send for a client's frame.
func busRequest(f ipmb.Frame) ipmb.Request {
	return ipmb.Request{
		Responder:    f.Destination,
		NetFn:        f.NetFn,
		LUN:          f.DestinationLUN,
		RequesterLUN: f.SourceLUN,
		Command:      f.Command,
		Data:         f.Data,
		NoWait:       true,
	}
}

// packets are packets one after the other, in memory that is used again.
type packets struct {
	bytes []byte
	ends  []int // where each ends
}

// keptBytes is how much memory packets keep for later ones.
const keptBytes = 16 << 10

func (p *packets) len() int { return len(p.ends) }

// addResponse adds the answer to a request that has a response frame.
func (p *packets) addResponse(index uint8, frame ipmb.Frame) {
	p.bytes = append(p.bytes, index, uint8(ipmb.StatusOK))
	p.bytes = frame.Append(p.bytes)
	p.ends = append(p.ends, len(p.bytes))
}

// addStatus adds the answer to a request that has failed and whose frame begins with head.
func (p *packets) addStatus(index uint8, status ipmb.Status, head []byte) {
	p.bytes = append(p.bytes, index, uint8(status))
	p.bytes = append(p.bytes, head...)
	p.ends = append(p.ends, len(p.bytes))
}

// packet returns the i-th packet.
func (p *packets) packet(i int) []byte {
	begin := 0
	if i > 0 {
		begin = p.ends[i-1]
	}
	return p.bytes[begin:p.ends[i]]
}

func (p *packets) reset() {
	if cap(p.bytes) > keptBytes {
		p.bytes = nil
	}
	p.bytes, p.ends = p.bytes[:0], p.ends[:0]
}
