package frames

import (
	"sync/atomic"

	"ipmbd/ipmb"
)

// counters is what has happened.
type counters struct {
	clients, clientsRefused, clientsReplaced, clientsCutOff atomic.Uint64
	requests, requestsInvalid, requestsRefused              atomic.Uint64
}

// request counts a packet of a client, by the status that it has so far, and returns how
// many there were.
func (c *counters) request(status ipmb.Status) uint64 {
	n := c.requests.Add(1)
	switch status {
	case ipmb.StatusOK:
	case ipmb.StatusTooLong, ipmb.StatusInvalid:
		c.requestsInvalid.Add(1)
	default:
		c.requestsRefused.Add(1)
	}
	return n
}

// Statistics is the counters by name: clients served, refused, replaced and cut off;
// packets, those that were no requests, and requests refused over a client's limit or at a
// stop. The statistics of a bus say how the requests ended that were sent there.
func (s *Server) Statistics() map[string]uint64 {
	c := &s.counters
	return map[string]uint64{
		"frame-clients":          c.clients.Load(),
		"frame-clients-refused":  c.clientsRefused.Load(),
		"frame-clients-replaced": c.clientsReplaced.Load(),
		"frame-clients-cut-off":  c.clientsCutOff.Load(),
		"frame-requests":         c.requests.Load(),
		"frame-requests-invalid": c.requestsInvalid.Load(),
		"frame-requests-refused": c.requestsRefused.Load(),
	}
}
