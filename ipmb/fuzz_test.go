package ipmb_test

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// split cuts fuzz input into frames: a length byte and that many bytes. With bit
// 7 of the length set the two checksums are made right, to reach further in.
func split(input []byte) [][]byte {
	var frames [][]byte
	for len(input) > 0 && len(frames) < 200 {
		repair := input[0]&0x80 != 0
		n := min(int(input[0]&0x7F), len(input)-1)
		frame := append([]byte(nil), input[1:1+n]...)
		input = input[1+n:]
		if repair && n >= ipmb.MinRequest {
			frame[2] = -(frame[0] + frame[1])
			frame[n-1] = 0
			for _, b := range frame[3 : n-1] {
				frame[n-1] -= b
			}
		}
		frames = append(frames, frame)
	}
	return frames
}

// record is a handler that answers each request with the number of its run.
type record struct {
	mu   sync.Mutex
	runs []ipmi.Request
}

func (r *record) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	r.mu.Lock()
	kept := *req
	kept.Data = append([]byte(nil), req.Data...)
	r.runs = append(r.runs, kept)
	run := uint16(len(r.runs))
	r.mu.Unlock()
	reply.Answer(ipmi.Response{Data: binary.BigEndian.AppendUint16(nil, run)}, nil)
}

// key has the fields that an answer repeats of its request.
type key struct {
	requester    ipmi.Address
	requesterLUN ipmi.LUN
	netFn        ipmi.NetFn
	command      ipmi.Command
	sequence     uint8
}

// With any input the engine lives, answers each valid request, and
// answers nothing else.
func FuzzEngineInput(f *testing.F) {
	seed := func(frames ...[]byte) {
		var input []byte
		for _, frame := range frames {
			input = append(append(input, byte(len(frame))), frame...)
		}
		f.Add(input)
	}
	for _, v := range vectors {
		seed(octets(v.bytes), octets(v.bytes))
	}
	request := from(peer, 7, cmdA, 1).Append(nil)
	changed := from(peer, 7, cmdA, 2).Append(nil)
	seed(request, request, changed, request)
	seed(octets("20 1C C4 2C 04 01 CF"))
	seed(append([]byte{0}, from(peer, 7, 0x01).Append(nil)...))
	f.Add(append([]byte{0x80 + 9}, request...))

	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) {
			handler := new(record)
			w := &world{t: t, engine: ipmb.New(ipmb.Config{Handler: handler}), bus: newBus(t, i2c.Limits{MaxFrame: 239})}
			for a := 0; a < 0x100; a++ {
				w.place(ipmi.Address(a), silent)
			}
			w.run()
			defer w.stop()
			waiting := w.start(ask(me, 0xFE))
			checkAnswers(w, handler, split(input))
			w.place(0xFC, prompt)
			w.do(ask(0xFC, 0xFE)).answered()
			waiting.wait()
		})
	})
}

// checkAnswers plays frames to the engine, one after the other, and compares the written frames
// with the runs of the handler.
func checkAnswers(w *world, handler *record, frames [][]byte) {
	received := make(map[key]int)
	for _, frame := range frames {
		w.deliver(frame)
		synctest.Wait()
		if len(frame) > 0 && frame[0] == 0 { // a general call
			frame = frame[1:]
		}
		if r, err := ipmb.Decode(frame); err == nil && r.Destination == own && !r.NetFn.IsResponse() {
			received[key{r.Source, r.SourceLUN, r.NetFn.Response(), r.Command, r.Sequence}]++
		}
	}
	answeredRuns := make(map[uint16]bool)
	for _, sent := range w.allWrites() {
		a := sent.frame(w.t)
		if !a.NetFn.IsResponse() {
			continue
		}
		k := key{a.Destination, a.DestinationLUN, a.NetFn, a.Command, a.Sequence}
		if received[k]--; received[k] < 0 {
			w.t.Errorf("an answer too many: %+v", a)
		}
		n := binary.BigEndian.Uint16(a.Data)
		run := handler.runs[n-1]
		answeredRuns[n] = true
		if k != (key{run.Requester, run.RequesterLUN, run.NetFn.Response(), run.Command, a.Sequence}) || a.SourceLUN != run.LUN {
			w.t.Errorf("the answer %+v is of the request %+v", a, run)
		}
		if run.Requester&1 != 0 || run.Requester == 0 || run.Requester == own || run.NetFn.IsResponse() {
			w.t.Errorf("this is no request to serve: %+v", run)
		}
	}
	if len(answeredRuns) != len(handler.runs) {
		w.t.Errorf("%d requests were taken, %d answered", len(handler.runs), len(answeredRuns))
	}
}
