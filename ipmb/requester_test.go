package ipmb_test

import (
	"encoding/binary"
	"sync"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// from is a request that the node at an address sends to the engine.
func from(source ipmi.Address, sequence uint8, cmd ipmi.Command, data ...byte) ipmb.Frame {
	return ipmb.Frame{
		Destination: own,
		NetFn:       ipmi.NetFnApp,
		Source:      source,
		Sequence:    sequence,
		Command:     cmd,
		Data:        data,
	}
}

// hear delivers frames to the engine and lets it deal with them.
func (w *world) hear(frames ...ipmb.Frame) {
	for _, f := range frames {
		w.deliver(f.Append(nil))
	}
	synctest.Wait()
}

// answer is an answer of the engine as it was written.
type answer struct {
	at time.Duration
	ipmb.Frame
}

// run is the number that a service put into the answer.
func (a answer) run() int {
	if len(a.Data) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(a.Data))
}

// answers are the responses written to a requester that it acknowledged.
func (w *world) answers(to ipmi.Address) []answer {
	w.t.Helper()
	var found []answer
	for _, sent := range w.writes(to) {
		if f := sent.frame(w.t); f.NetFn.IsResponse() && sent.ended && sent.err == nil {
			found = append(found, answer{sent.at, f})
		}
	}
	return found
}

// lastAnswer is the newest answer to a requester.
func (w *world) lastAnswer(to ipmi.Address) answer {
	w.t.Helper()
	all := w.answers(to)
	if len(all) == 0 {
		w.t.Fatal("there is no answer")
	}
	return all[len(all)-1]
}

// service is a handler that counts its runs. It answers the n-th, from 1 on,
// with n in two bytes and the data of the request.
type service struct {
	// takes is how long a request takes.
	takes func(req *ipmi.Request) time.Duration

	mu   sync.Mutex
	runs []ipmi.Request
}

// slow is a service whose requests all take d.
func slow(d time.Duration) *service {
	return &service{takes: func(*ipmi.Request) time.Duration { return d }}
}

func (s *service) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	s.mu.Lock()
	kept := *req
	kept.Data = append([]byte(nil), req.Data...)
	s.runs = append(s.runs, kept)
	n := len(s.runs)
	s.mu.Unlock()

	data := append(binary.BigEndian.AppendUint16(nil, uint16(n)), kept.Data...)
	answer := func() { reply.Answer(ipmi.Response{Data: data}, nil) }
	if s.takes == nil {
		answer()
		return
	}
	time.AfterFunc(s.takes(req), answer)
}

// count is how often the service ran.
func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}

// seen are the requests of all runs.
func (s *service) seen() []ipmi.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ipmi.Request(nil), s.runs...)
}

// answering is a handler that says the same to everybody.
func answering(response ipmi.Response, err error) ipmi.Handler {
	return ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return response, err
	})
}
