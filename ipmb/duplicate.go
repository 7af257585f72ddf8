package ipmb

import (
	"bytes"
	"container/list"
	"time"

	"ipmbd/ipmi"
)

const (
	// sequenceExpiration is how long a responder takes a number that comes
	// again for a repeat (IPMB v1.0, table 4-1).
	sequenceExpiration = 5 * time.Second
	// wrapDistance is how many newer requests of a requester make a repeated
	// number a new request: numbers wrap at 64, and requests may be under way.
	wrapDistance = 48
	// fixedWindow is how long the answer to a requester that never changes its
	// number is kept: its own retries come within 250 ms (IPMB v1.0, 60 to
	// 250 ms between retries).
	fixedWindow = 300 * time.Millisecond
	// maxEntries bounds the table of requests of one bus.
	maxEntries = 512
)

// requestKey is what a repeat has in common with its request.
type requestKey struct {
	requester    ipmi.Address
	requesterLUN ipmi.LUN
	netFn        ipmi.NetFn
	command      ipmi.Command
	sequence     uint8
}

// entry is a request that was taken: in a handler, or answered.
type entry struct {
	deadline // of the handler
	engine   *Engine
	key      requestKey
	store    [96]byte // for frame, and for answer behind it
	frame    []byte   // the request, as it came
	request  ipmi.Request
	order    uint64   // among the new requests of its requester
	slots    *slots   // of which it has one while it is in a handler
	delivery delivery // of the answer

	deferred   bool // its handler leaves the answer to Respond
	answered   bool
	served     bool // by a handler
	superseded bool // another request came with its key: its answer would be taken for that one's
	answer     []byte
	answeredAt time.Duration
	delivering bool          // the answer is on its way to the bus
	place      *list.Element // among the answered entries
}

// requester is what is remembered of an address that sends requests.
type requester struct {
	count uint64 // new requests so far
	last  *entry // the newest
	fixed bool   // the last two had one number
}

// requestTable knows the requests of the last seconds, so that a repeat is
// answered again and not served again.
type requestTable struct {
	window     time.Duration
	entries    map[requestKey]*entry
	answered   list.List // of *entry, in order of their answers
	requesters [128]requester
}

func (t *requestTable) init(window time.Duration) {
	t.window = max(window, 0)
	t.entries = make(map[requestKey]*entry)
	t.answered.Init()
}

func requestKeyOf(f Frame) requestKey {
	return requestKey{f.Source, f.SourceLUN, f.NetFn, f.Command, f.Sequence}
}

// repeated is the entry of which raw is a repeat, nil for a new request.
func (t *requestTable) repeated(f Frame, raw []byte, now time.Duration) *entry {
	n := t.entries[requestKeyOf(f)]
	if n == nil || !bytes.Equal(n.frame, raw) || n.answered && t.forgotten(n, now) {
		return nil
	}
	return n
}

// forgotten reports whether the answer is too old to be given again.
func (t *requestTable) forgotten(n *entry, now time.Duration) bool {
	r := &t.requesters[n.key.requester>>1]
	window := t.window
	if r.fixed {
		window = min(window, fixedWindow)
	}
	return now-n.answeredAt >= window || r.count-n.order >= wrapDistance
}

// note counts a new request and learns how its requester numbers. A frame like
// the last that is a new request all the same shows a number used again, unless
// the last was answered without a handler and has come again for one.
func (t *requestTable) note(n *entry) (order uint64) {
	r := &t.requesters[n.key.requester>>1]
	r.fixed = r.last != nil && r.last.key.sequence == n.key.sequence &&
		(r.last.served || !bytes.Equal(r.last.frame, n.frame))
	r.last = n
	r.count++
	return r.count
}

// add enters a new request in the place of what had its key.
func (t *requestTable) add(n *entry) {
	if old := t.entries[n.key]; old != nil {
		old.superseded = !old.answered
		t.remove(old)
	}
	t.entries[n.key] = n
	t.trim()
}

// keep keeps an answered entry for repeats.
func (t *requestTable) keep(n *entry, now time.Duration) {
	n.answered = true
	n.served = true
	n.answeredAt = now
	if t.window == 0 && !n.deferred {
		t.remove(n)
		return
	}
	n.place = t.answered.PushBack(n)
	for e := t.answered.Front(); e != nil; e = t.answered.Front() {
		oldest := e.Value.(*entry)
		if now-oldest.answeredAt < max(t.window, sequenceExpiration) {
			break
		}
		t.remove(oldest)
	}
}

// trim makes room by forgetting the oldest answers.
func (t *requestTable) trim() {
	for e := t.answered.Front(); e != nil && len(t.entries) > maxEntries; e = t.answered.Front() {
		t.remove(e.Value.(*entry))
	}
}

func (t *requestTable) remove(n *entry) {
	if t.entries[n.key] == n {
		delete(t.entries, n.key)
	}
	if n.place != nil {
		t.answered.Remove(n.place)
		n.place = nil
	}
}
