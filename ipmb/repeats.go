package ipmb

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"ipmbd/ipmi"
)

const (
	// SequenceExpiration is how long a responder may treat a request with the same sequence number
	// as a repeat (IPMB v1.0, table 4-1).
	SequenceExpiration = 5 * time.Second
	// maxKept bounds the responses kept for a requester: one for each of its numbers and LUNs.
	maxKept = (int(ipmi.MaxLUN) + 1) * SequenceNumbers
	// maxRepeats is how many repeats of a requester with a long retry time count as such after
	// SequenceExpiration: six transmissions are usual.
	maxRepeats = 5
	// inlineFrame is the length of a request or a response that has room in its entry, in bytes:
	// the longest that nodes need to accept.
	inlineFrame = 32
)

// requestKey has the fields that a repeat has in common with its request.
type requestKey struct {
	requester    ipmi.Address
	requesterLUN ipmi.LUN
	netFn        ipmi.NetFn
	command      ipmi.Command
	sequence     uint8
}

func requestKeyOf(f Frame) requestKey {
	return requestKey{f.Source, f.SourceLUN, f.NetFn, f.Command, f.Sequence}
}

// entry is a request that was admitted: in a handler, or answered.
type entry struct {
	deadline // of the handler
	engine   *Engine
	key      requestKey
	effect   ipmi.Effect
	frame    []byte // the request, as it came
	request  ipmi.Request
	slots    *slots                      // it has a place in these while it is in a handler
	respond  func(response []byte) error // of Submit; nil for a request from the bus

	deferred   bool // its handler leaves the response to StartRespond
	answered   bool
	superseded bool // another request came with its key and would get its response
	response   []byte
	answeredAt time.Duration
	givenAt    time.Duration // when the response was given last
	repeats    int           // how often it was given again
	delivery   delivery      // of the response
	delivering bool          // the response is on its way to the bus
	again      bool          // a repeat came while the response was being written
	lost       bool          // the last write of the response failed

	// Room for frames as long as most are, so that an entry is one allocation.
	frameRoom, responseRoom [inlineFrame]byte

	older *entry     // of the requester, with the same sequence number
	list  *entryList // of responses kept; nil while there is none
}

// requestTable knows the requests of the last seconds, so that none is served twice.
type requestTable struct {
	window     time.Duration
	seed       maphash.Seed
	requesters [128]*requester // by address >> 1
	swept      uint8           // the requester whose old responses were dropped last
}

// requester is the memory of an address that sends requests. Others cannot crowd it out.
type requester struct {
	numbers   [SequenceNumbers]*entry // the newest request with each number
	numbering [ipmi.MaxLUN + 1]*numbering
	// Responses that are kept: to the newest request with its number and LUN, and to requests
	// whose number was used for another command since. The latter are removed first.
	current, past entryList
}

func (t *requestTable) init() { t.seed = maphash.MakeSeed() }

// requesterAt is the memory of an address, made at its first request.
func (t *requestTable) requesterAt(a ipmi.Address) *requester {
	r := t.requesters[a>>1]
	if r == nil {
		r = new(requester)
		t.requesters[a>>1] = r
	}
	return r
}

// newest is the newest request with a key, or nil.
func (r *requester) newest(key requestKey) *entry {
	for n := r.numbers[key.sequence]; n != nil; n = n.older {
		if n.key == key {
			return n
		}
	}
	return nil
}

// answeredBy returns the request that a response answers, or nil if no such request is known. The
// response must come from the address that the request was sent to.
func (t *requestTable) answeredBy(f Frame, now time.Duration) *entry {
	r := t.requesters[f.Destination>>1]
	if r == nil {
		return nil
	}
	n := r.newest(requestKey{f.Destination, f.DestinationLUN, f.NetFn.Request(), f.Command, f.Sequence})
	if n == nil || ipmi.Address(n.frame[0]) != f.Source || n.request.LUN != f.SourceLUN ||
		n.answered && now-n.answeredAt >= SequenceExpiration {
		return nil
	}
	return n
}

// deferredRequests is the entries that are deferred and not answered.
func (t *requestTable) deferredRequests() (all []*entry) {
	for _, r := range t.requesters {
		if r == nil {
			continue
		}
		for _, n := range r.numbers {
			for ; n != nil; n = n.older {
				if n.deferred && !n.answered {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// findRepeat returns the entry whose repeat raw is, nil for a request to serve. writing is the
// entry whose response is being written.
func (t *requestTable) findRepeat(f Frame, raw []byte, effect ipmi.Effect, writing *entry,
	now time.Duration) *entry {
	r := t.requesterAt(f.Source)
	n := r.newest(requestKeyOf(f))
	if n != nil && !bytes.Equal(n.frame, raw) {
		n = nil
	}
	numbers := r.numbering[f.SourceLUN&ipmi.MaxLUN]
	if numbers == nil {
		numbers = new(numbering)
		r.numbering[f.SourceLUN&ipmi.MaxLUN] = numbers
	}
	hash := maphash.Bytes(t.seed, raw)
	kept := n != nil && n.answered && now-n.answeredAt < t.window
	certain := n != nil && !n.answered ||
		n != nil && n.delivering && n != writing ||
		kept && (n.lost || effect == ipmi.HasEffect) ||
		n != nil && !kept && effect == ipmi.HasEffect && t.isLateRepeat(n, numbers, hash, now)
	repeat := numbers.noteRequest(f.Sequence, hash, certain, now)
	if certain || repeat && kept && effect == ipmi.EffectUnknown {
		return n
	}
	return nil
}

// isLateRepeat reports whether a frame that comes after the window is one more repeat of a
// requester that has repeated the request before, and whose next repeat is due.
func (t *requestTable) isLateRepeat(n *entry, numbers *numbering, hash uint64, now time.Duration) bool {
	u := &numbers.numbers[n.key.sequence]
	return 0 < n.repeats && n.repeats < maxRepeats && now-n.givenAt < t.window &&
		u.hash == hash && numbers.retries.known() && numbers.retries.has(now-u.lastAt)
}

// addEntry enters a new request in place of the one that had its key.
func (t *requestTable) addEntry(n *entry) {
	r := t.requesterAt(n.key.requester)
	if old := r.newest(n.key); old != nil {
		old.superseded = !old.answered
		t.removeEntry(old)
	}
	for other := r.numbers[n.key.sequence]; other != nil; other = other.older {
		if other.list == &r.current && other.key.requesterLUN == n.key.requesterLUN {
			r.current.remove(other)
			r.past.add(other)
		}
	}
	n.older = r.numbers[n.key.sequence]
	r.numbers[n.key.sequence] = n
}

// keepResponse keeps an answered entry for repeats; without effect, until the response is written.
func (t *requestTable) keepResponse(n *entry, now time.Duration) {
	n.answered = true
	n.answeredAt, n.givenAt = now, now
	switch {
	case n.deferred:
	case t.window == 0:
		t.removeEntry(n)
		return
	case n.effect == ipmi.NoEffect:
		return
	}
	r := t.requesterAt(n.key.requester)
	newest := r.numbers[n.key.sequence]
	for newest.key.requesterLUN != n.key.requesterLUN {
		newest = newest.older
	}
	if newest == n {
		r.current.add(n)
	} else {
		r.past.add(n)
	}
	t.dropExpired(r, now)
	t.swept = (t.swept + 1) % uint8(len(t.requesters))
	t.dropExpired(t.requesters[t.swept], now)
	for len(r.current)+len(r.past) > maxKept {
		oldest := &r.current
		if len(r.past) > 0 {
			oldest = &r.past
		}
		t.removeEntry((*oldest)[0])
	}
}

// dropExpired forgets responses that are too old to be given again.
func (t *requestTable) dropExpired(r *requester, now time.Duration) {
	if r == nil {
		return
	}
	for _, list := range [...]*entryList{&r.current, &r.past} {
		for len(*list) > 0 && now-(*list)[0].givenAt >= max(t.window, SequenceExpiration) {
			t.removeEntry((*list)[0])
		}
	}
}

// dropUnkept forgets an entry whose response is not kept.
func (t *requestTable) dropUnkept(n *entry) {
	if n.list == nil {
		t.removeEntry(n)
	}
}

// removeEntry forgets an entry, if it is there.
func (t *requestTable) removeEntry(n *entry) {
	if n.list != nil {
		n.list.remove(n)
	}
	r := t.requesterAt(n.key.requester)
	for at := &r.numbers[n.key.sequence]; *at != nil; at = &(*at).older {
		if *at == n {
			*at = n.older
			n.older = nil
			return
		}
	}
}

// entryList is the responses that are kept, the one that was given first in front.
type entryList []*entry

func (l *entryList) add(n *entry) {
	n.list = l
	*l = append(*l, n)
}

func (l *entryList) remove(n *entry) {
	i := slices.Index(*l, n)
	*l = slices.Delete(*l, i, i+1)
	n.list = nil
}

// answerRepeat answers a repeat of a request. If the request is in a handler, or its response
// waits for the bus, the repeat needs nothing. If the response is being written, the repeat gets
// it once more, since the requester may have sent the repeat after it had read the response.
func (e *Engine) answerRepeat(n *entry) {
	switch {
	case n == e.beingWritten():
		n.again = true
	case !n.answered || n.delivering:
		e.counts.Count(droppedRepeat)
	case e.outbox.pending >= e.config.MaxResponses:
		e.counts.Count(droppedResponsesFull)
	default:
		e.replayResponse(n)
	}
}

// replayResponse gives the response to a request again.
func (e *Engine) replayResponse(n *entry) {
	e.counts.Count(requestsReplayed)
	n.repeats++
	n.givenAt = e.now()
	if list := n.list; list != nil {
		list.remove(n)
		list.add(n)
	}
	e.deliverResponse(n)
}

// deliverResponse sends the response to a request to the bus.
func (e *Engine) deliverResponse(n *entry) {
	n.delivering, n.again, n.lost = true, false, false
	n.delivery = delivery{frame: n.response, entry: n, respond: n.respond}
	e.deliver(&n.delivery)
}

// beingWritten is the request whose response is being written, or nil.
func (e *Engine) beingWritten() *entry {
	if d := e.outbox.current.delivery; d != nil {
		return d.entry
	}
	return nil
}

// responseWritten takes the outcome of the writes of a response.
func (e *Engine) responseWritten(n *entry, err error) {
	n.delivering = false
	n.lost = err != nil
	if err == nil {
		e.counts.Count(responsesWritten)
	} else {
		e.counts.Count(responsesLost)
	}
	if n.again && err == nil && e.running {
		e.replayResponse(n)
		return
	}
	e.requests.dropUnkept(n)
}
