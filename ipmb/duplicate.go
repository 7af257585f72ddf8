package ipmb

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"ipmbd/ipmi"
)

const (
	// sequenceExpiration is how long a responder takes a number that comes
	// again for a repeat (IPMB v1.0, table 4-1).
	sequenceExpiration = 5 * time.Second
	// maxKept bounds the answers that are kept for one requester address: one for each
	// sequence number and LUN of the requester.
	maxKept = (int(ipmi.MaxLUN) + 1) * SequenceNumbers
	// maxRepeats is how many repeats of a requester with a long retry time are taken for
	// repeats after sequenceExpiration: six transmissions are usual.
	maxRepeats = 5
	// inlineFrame is how long a request or an answer may be to be kept in its entry:
	// the most that nodes need to take.
	inlineFrame = 32
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
	effect   ipmi.Effect
	frame    []byte // the request, as it came
	request  ipmi.Request
	slots    *slots                      // it takes one of these while it is in a handler
	respond  func(response []byte) error // of Submit; nil for a request in a frame

	deferred   bool // its handler leaves the answer to Respond
	answered   bool
	superseded bool // another request came with its key: its answer would be taken for that one's
	answer     []byte
	answeredAt time.Duration
	givenAt    time.Duration // when the answer was given last
	repeats    int           // how often it was given again
	delivery   delivery      // of the answer
	delivering bool          // the answer is on its way to the bus
	again      bool          // a repeat came while the answer was being written
	lost       bool          // the last write of the answer failed

	// Room for frames as long as most are, so that an entry is one allocation.
	frameRoom, answerRoom [inlineFrame]byte

	older      *entry     // of the requester, with the same sequence number
	list       *entryList // of answers kept; nil while there is none
	prev, next *entry     // in list
}

// requestTable knows the requests of the last seconds, so that a repeat is
// answered again and not served again.
type requestTable struct {
	window     time.Duration
	seed       maphash.Seed
	requesters [128]*requester // by address >> 1
	swept      uint8           // the requester whose old answers were dropped last
}

// requester is what is remembered of an address that sends requests. It has room of
// its own, so that others cannot crowd its answers out.
type requester struct {
	numbers   [SequenceNumbers]*entry // the newest request with each number
	numbering [ipmi.MaxLUN + 1]*numbering
	// Answers that are kept: of the newest request with its number and LUN, and of
	// requests whose number was used for another command since. The latter go first.
	current, past entryList
}

func (t *requestTable) init(window time.Duration) {
	t.window = max(window, 0)
	t.seed = maphash.MakeSeed()
}

func requestKeyOf(f Frame) requestKey {
	return requestKey{f.Source, f.SourceLUN, f.NetFn, f.Command, f.Sequence}
}

// of is what is remembered of an address, made at its first request.
func (t *requestTable) of(a ipmi.Address) *requester {
	r := t.requesters[a>>1]
	if r == nil {
		r = new(requester)
		t.requesters[a>>1] = r
	}
	return r
}

// find is the newest request with a key, or nil.
func (t *requestTable) find(key requestKey) *entry {
	if r := t.requesters[key.requester>>1]; r != nil {
		return r.find(key)
	}
	return nil
}

func (r *requester) find(key requestKey) *entry {
	for n := r.numbers[key.sequence]; n != nil; n = n.older {
		if n.key == key {
			return n
		}
	}
	return nil
}

// unanswered is the entries that are deferred and not answered.
func (t *requestTable) unanswered() (all []*entry) {
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

// repeated is the entry of which raw is a repeat, nil for a request to be served.
// writing is the entry whose answer the writer is writing.
func (t *requestTable) repeated(f Frame, raw []byte, effect ipmi.Effect, writing *entry, now time.Duration) *entry {
	r := t.of(f.Source)
	n := r.find(requestKeyOf(f))
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
	repeat := numbers.hear(f.Sequence, hash, certain, now)
	if certain || repeat && kept && effect == ipmi.EffectUnknown {
		return n
	}
	return nil
}

// isLateRepeat reports whether a frame that comes after the window is one more repeat of a
// requester with a long retry time: the requester has repeated the request before, and its
// next repeat is due.
func (t *requestTable) isLateRepeat(n *entry, numbers *numbering, hash uint64, now time.Duration) bool {
	return 0 < n.repeats && n.repeats < maxRepeats && now-n.givenAt < t.window &&
		numbers.awaits(n.key.sequence, hash, now)
}

// add enters a new request in place of the one that had its key.
func (t *requestTable) add(n *entry) {
	r := t.of(n.key.requester)
	if old := r.find(n.key); old != nil {
		old.superseded = !old.answered
		t.remove(old)
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

// keep keeps an entry that is about to be answered, for repeats. That of a request
// without effect is kept until the answer is written.
func (t *requestTable) keep(n *entry, now time.Duration) {
	n.answered = true
	n.answeredAt, n.givenAt = now, now
	switch {
	case n.deferred:
	case t.window == 0:
		t.remove(n)
		return
	case n.effect == ipmi.NoEffect:
		return
	}
	r := t.of(n.key.requester)
	if r.isCurrent(n) {
		r.current.add(n)
	} else {
		r.past.add(n)
	}
	t.dropExpired(r, now)
	t.swept = (t.swept + 1) % uint8(len(t.requesters))
	t.dropExpired(t.requesters[t.swept], now)
	for r.current.len+r.past.len > maxKept {
		if oldest := r.past.front; oldest != nil {
			t.remove(oldest)
		} else {
			t.remove(r.current.front)
		}
	}
}

// isCurrent reports whether n is the newest request with its number and LUN.
func (r *requester) isCurrent(n *entry) bool {
	newest := r.numbers[n.key.sequence]
	for newest.key.requesterLUN != n.key.requesterLUN {
		newest = newest.older
	}
	return newest == n
}

// dropExpired forgets answers that are too old to be given again.
func (t *requestTable) dropExpired(r *requester, now time.Duration) {
	if r == nil {
		return
	}
	for _, list := range [...]*entryList{&r.current, &r.past} {
		for n := list.front; n != nil && now-n.givenAt >= max(t.window, sequenceExpiration); n = list.front {
			t.remove(n)
		}
	}
}

// drop forgets an entry whose answer is not kept.
func (t *requestTable) drop(n *entry) {
	if n.list == nil {
		t.remove(n)
	}
}

// remove forgets an entry, if it is there.
func (t *requestTable) remove(n *entry) {
	if n.list != nil {
		n.list.remove(n)
	}
	r := t.of(n.key.requester)
	for at := &r.numbers[n.key.sequence]; *at != nil; at = &(*at).older {
		if *at == n {
			*at = n.older
			n.older = nil
			return
		}
	}
}

// givenAgain notes that the answer is given again.
func (n *entry) givenAgain(now time.Duration) {
	n.repeats++
	n.givenAt = now
	if list := n.list; list != nil {
		list.remove(n)
		list.add(n)
	}
}

// entryList is a list of answers that are kept, the one that was given first in front.
type entryList struct {
	front, back *entry
	len         int
}

func (l *entryList) add(n *entry) {
	n.list = l
	n.prev, n.next = l.back, nil
	if l.back != nil {
		l.back.next = n
	} else {
		l.front = n
	}
	l.back = n
	l.len++
}

func (l *entryList) remove(n *entry) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.front = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.back = n.prev
	}
	n.list, n.prev, n.next = nil, nil, nil
	l.len--
}

// setFrame keeps a copy of the request's frame.
func (n *entry) setFrame(raw []byte) { n.frame = append(n.frameRoom[:0], raw...) }

// setAnswer keeps the frame of the answer.
func (n *entry) setAnswer(f Frame) { n.answer = f.Append(slices.Grow(n.answerRoom[:0], f.Len())) }

// repeat answers a request that was served already. One that is in a handler, or
// whose answer waits for the bus, needs nothing; one whose answer is being written
// gets it once more, since its requester may have asked after it had read that.
func (e *Engine) repeat(n *entry) {
	switch {
	case n == e.beingWritten():
		n.again = true
	case !n.answered || n.delivering:
		e.counts.add(droppedRepeat)
	case e.outbox.pending >= e.config.MaxResponses:
		e.counts.add(droppedAnswersFull)
	default:
		e.replay(n)
	}
}

func (e *Engine) replay(n *entry) {
	e.counts.add(requestsReplayed)
	n.givenAgain(e.now())
	e.deliverAnswer(n)
}

// deliverAnswer sends the answer of a request to the bus.
func (e *Engine) deliverAnswer(n *entry) {
	n.delivering, n.again, n.lost = true, false, false
	n.delivery = delivery{frame: n.answer, entry: n}
	e.deliver(&n.delivery)
}

// beingWritten is the request whose answer the writer is writing, or nil.
func (e *Engine) beingWritten() *entry {
	if d := e.outbox.current.delivery; d != nil {
		return d.entry
	}
	return nil
}

// answerWritten is told how the writes of an answer ended.
func (e *Engine) answerWritten(n *entry, err error) {
	n.delivering = false
	n.lost = err != nil
	if err == nil {
		e.counts.add(answersWritten)
	} else {
		e.counts.add(answersLost)
	}
	if n.again && err == nil && e.running {
		e.replay(n)
		return
	}
	e.requests.drop(n)
}
