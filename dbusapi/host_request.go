package dbusapi

import (
	"errors"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// numberRests is how long after its deadline the number of a request without an answer is
// not given to another request: a late answer would be taken for that request's. If each
// request takes 4.5 s, 133 numbers rest.
const numberRests = 10 * time.Minute

// errOtherRequest: an answer's number is that of a request which it does not fit.
var errOtherRequest = errors.New("the request that waits under this number is another one")

// hostRequests is the requests that wait for a sendMessage. The zero value is
// ready.
type hostRequests struct {
	mu       sync.Mutex
	last     uint8
	waiting  [256]*hostRequest // also those whose number rests
	answerer string            // unique name of the program that answered last
	closed   bool
}

// hostRequest is one of them.
type hostRequest struct {
	*ipmi.Request
	seq   uint8
	reply ipmi.Reply
}

// add numbers a request. The errors are ipmi.ErrBusy, when no number is free, and
// errBusLost.
func (h *hostRequests) add(req *ipmi.Request, reply ipmi.Reply) (*hostRequest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errBusLost
	}
	now := time.Now()
	for range h.waiting {
		h.last++
		if r := h.waiting[h.last]; r != nil && !isLate(r.Request, now.Add(-numberRests)) {
			continue
		}
		r := &hostRequest{req, h.last, reply}
		h.waiting[r.seq] = r
		return r, nil
	}
	return nil, ipmi.ErrBusy
}

// remove frees the number of a request, and reports whether it was its own.
func (h *hostRequests) remove(r *hostRequest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[r.seq] != r {
		return false
	}
	h.waiting[r.seq] = nil
	return true
}

// end answers a request that no program is to answer.
func (h *hostRequests) end(r *hostRequest, err error) {
	if h.remove(r) {
		r.reply.Answer(ipmi.Response{}, err)
	}
}

// answer answers a request, once and in time. The errors are errUnknownID and
// errOtherRequest.
func (h *hostRequests) answer(sender string, seq uint8, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, res ipmi.Response) error {
	r, err := h.answered(sender, seq, netFn, lun, cmd)
	if err != nil {
		return err
	}
	if !r.reply.Answer(res, nil) {
		return errUnknownID // Its number rests.
	}
	h.remove(r)
	return nil
}

// answered is the request that a program's answer is for.
func (h *hostRequests) answered(sender string, seq uint8, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command) (*hostRequest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.waiting[seq]
	switch {
	case r == nil:
		return nil, errUnknownID
	case netFn.Request() != r.NetFn || lun != r.LUN || cmd != r.Command:
		return nil, errOtherRequest
	}
	h.answerer = sender
	return r, nil
}

// close ends all requests, in the order in which they came, and lets no more in: the
// connection is lost.
func (h *hostRequests) close() {
	h.mu.Lock()
	h.closed = true
	waiting, seq := h.waiting, h.last
	h.mu.Unlock()
	for range waiting {
		seq++
		if r := waiting[seq]; r != nil {
			h.end(r, errBusLost)
		}
	}
}

func (h *hostRequests) lastAnswerer() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answerer
}
