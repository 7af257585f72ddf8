package dbusapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// numberRests is for how long the number of a request without an answer is given
// to no other one, which a late answer would be taken for. At 4.5 s each, 133
// numbers rest.
const numberRests = 10 * time.Minute

// errOtherRequest: an answer's number is that of a request which it does not fit.
var errOtherRequest = errors.New("the request that waits under this number is another one")

// hostRequests is the requests that wait for a sendMessage. The zero value is
// ready.
type hostRequests struct {
	mu       sync.Mutex
	last     uint8
	waiting  [256]*hostRequest
	gaveUp   [256]time.Time
	answerer string // unique name of who answered last
}

// hostRequest is one of them.
type hostRequest struct {
	seq    uint8
	netFn  ipmi.NetFn
	lun    ipmi.LUN
	cmd    ipmi.Command
	until  time.Time          // as of takenUntil
	answer chan ipmi.Response // has room
}

// add numbers a request whose answer is waited for until ctx ends; nil if no number
// is free.
func (h *hostRequests) add(ctx context.Context, req *ipmi.Request) *hostRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range h.waiting {
		h.last++
		if h.waiting[h.last] != nil || time.Since(h.gaveUp[h.last]) < numberRests {
			continue
		}
		r := &hostRequest{h.last, req.NetFn, req.LUN, req.Command, takenUntil(ctx), make(chan ipmi.Response, 1)}
		h.waiting[r.seq] = r
		return r
	}
	return nil
}

// giveUp ends the wait of a request, and reports whether it was without an answer.
func (h *hostRequests) giveUp(r *hostRequest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[r.seq] != r {
		return false
	}
	h.waiting[r.seq] = nil
	h.gaveUp[r.seq] = time.Now()
	return true
}

// answer answers a request, once and in time. The errors are errUnknownID and
// errOtherRequest.
func (h *hostRequests) answer(sender string, seq uint8, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, res ipmi.Response) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.waiting[seq]
	switch {
	case r == nil, isPast(r.until):
		return errUnknownID
	case netFn.Request() != r.netFn || lun != r.lun || cmd != r.cmd:
		return errOtherRequest
	}
	h.waiting[seq] = nil
	h.answerer = sender
	r.answer <- res
	return nil
}

func (h *hostRequests) lastAnswerer() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answerer
}
