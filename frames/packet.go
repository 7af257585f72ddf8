package frames

import (
	"ipmbd/ipmb"
)

const (
	// MaxFrame is the longest frame in a packet, in bytes: what the longest of
	// ipmbd's transports sends.
	MaxFrame = 1024

	requestHead = 1 // bytes before the frame
	answerHead  = 2
	headBytes   = 6 // of a request's frame, in the message of its failure
	maxRequest  = requestHead + MaxFrame
)

// parseRequest reads a packet of a client. Data of the frame is a view. A status
// other than StatusOK is what is wrong with it; the index is 0 where there is none.
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

// headOf is what the message of a failure says of a request: the first bytes of its frame.
func headOf(packet []byte) []byte {
	if len(packet) <= requestHead {
		return nil
	}
	frame := packet[requestHead:]
	return frame[:min(len(frame), headBytes)]
}

// wireRequest is what is to be sent for a client's frame.
func wireRequest(f ipmb.Frame) ipmb.Request {
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

// keptBytes is how much memory packets keep for those to come.
const keptBytes = 16 << 10

func (p *packets) len() int { return len(p.ends) }

// addAnswer adds an answer with a response frame.
func (p *packets) addAnswer(index uint8, frame ipmb.Frame) {
	p.bytes = append(p.bytes, index, uint8(ipmb.StatusOK))
	p.bytes = frame.Append(p.bytes)
	p.ends = append(p.ends, len(p.bytes))
}

// addStatus adds an answer without one, to the request whose frame begins with head.
func (p *packets) addStatus(index uint8, status ipmb.Status, head []byte) {
	p.bytes = append(p.bytes, index, uint8(status))
	p.bytes = append(p.bytes, head...)
	p.ends = append(p.ends, len(p.bytes))
}

// packet is the i-th one.
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
