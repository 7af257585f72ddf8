package frames

import (
	"bytes"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// FuzzRequest: any packet of a client is a request, whose response is a frame
// with the client's own addresses and number, or has a status.
func FuzzRequest(f *testing.F) {
	good := packet(4, request(echoes, 1, 1, 2, 3))
	for _, seed := range [][]byte{
		nil, {4}, good, good[:7], good[:len(good)-1], packet(4, answerTo(request(echoes, 1))),
		packet(255, request(0, 63, make([]byte, MaxFrame)...)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		index, frame, status := parseRequest(b)
		if len(b) > 0 && index != b[0] {
			t.Errorf("index %d", index)
		}
		var p packets
		if status != ipmb.StatusOK {
			if status != ipmb.StatusInvalid && status != ipmb.StatusTooLong {
				t.Errorf("status %d", status)
			}
			p.addStatus(index, status, headOf(b))
			want := append([]byte{index, byte(status)}, b[min(len(b), 1):min(len(b), 7)]...)
			if !bytes.Equal(p.packet(0), want) {
				t.Errorf("answer % X", p.packet(0))
			}
			return
		}
		if !bytes.Equal(frame.Append([]byte{index}), b) {
			t.Errorf("% X is read as %+v", b, frame)
		}
		req := busRequest(frame)
		if req.Responder != ipmi.Address(b[1]) || req.NetFn.IsResponse() || !bytes.Equal(req.Data, b[7:len(b)-1]) {
			t.Errorf("% X is sent as %+v", b, req)
		}
		p.addStatus(0, ipmb.StatusBusy, nil)
		p.addResponse(index, frame.Response(0xC3, frame.Data))
		answer, err := ipmb.Decode(p.packet(1)[answerHead:])
		if err != nil || answer.Destination != frame.Source || answer.Sequence != frame.Sequence || answer.DestinationLUN != frame.SourceLUN ||
			answer.Code != 0xC3 || !bytes.Equal(answer.Data, frame.Data) {
			t.Errorf("% X is answered % X", b, p.packet(1))
		}
	})
}

func TestPacketsGiveBackMemory(t *testing.T) {
	var p packets
	for range 100 {
		p.addResponse(0, answerTo(request(echoes, 1, make([]byte, 1000)...)))
	}
	p.reset()
	if n := cap(p.bytes); n > keptBytes || p.len() != 0 {
		t.Errorf("%d bytes are kept", n)
	}
}
