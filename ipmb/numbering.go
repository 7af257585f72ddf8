package ipmb

import "time"

const (
	// earliestRetry is the least time after which a requester repeats a request to which it has
	// read no response: IPMB allows 60 ms, and timers are early.
	earliestRetry = 50 * time.Millisecond
	// latestRetry is the time after which a requester, if nothing else is known of it, has
	// repeated its request: IPMB allows 250 ms at most.
	latestRetry = 300 * time.Millisecond
	// turnSlack is by how many places a number may miss its turn: concurrent calls change places.
	turnSlack = 4
	// turnFound is how many consecutive numbers show the place in the turn, after it was lost. As
	// many requests of calls in progress may repeat in a row.
	turnFound = 3
	// firstTurn is the least number of newer requests for which a number that comes again in the
	// first turn counts as a new request. With fewer it is a repeat: nearly all requesters use all
	// numbers.
	firstTurn = SequenceNumbers * 3 / 4
)

// numbering learns how a requester numbers the requests of one LUN, and tells repeats from new
// requests that are equal. It knows requesters that use their numbers in turn (the next one, or
// the one that was free for longest) and those that always use the same number.
type numbering struct {
	count   uint64 // of new requests
	last    uint8  // number of the newest
	fixed   bool   // the two newest had one number
	lastAt  time.Duration
	byUse   turn // of a requester that uses its numbers one after the other
	byFree  turn // of one that uses the number that was free for longest; a repeat postpones it
	retries span // between a request and its repeat
	gaps    span // between a request and a new one with the same number
	numbers [SequenceNumbers]numberUse
}

// numberUse is the last use of a sequence number.
type numberUse struct {
	order  uint64 // of the request, counted from 1; 0 is none
	freed  uint64 // numbering.count when the request or its repeat came
	hash   uint64 // of its frame
	began  time.Duration
	lastAt time.Duration // when the frame came last
}

// noteRequest notes a request and reports whether it seems, or for certain is, a repeat.
func (g *numbering) noteRequest(sequence uint8, hash uint64, certain bool, now time.Duration) (repeat bool) {
	u := &g.numbers[sequence]
	equal := u.order != 0 && u.hash == hash
	repeat = certain || equal && g.isRepeat(sequence, now)
	// If the two newest requests had different numbers, a frame like the newest is its repeat.
	isNewest := g.count == u.order && g.count > 1 && !g.fixed
	if interval := now - u.lastAt; equal && repeat && (certain || isNewest) && interval >= earliestRetry {
		g.retries.add(interval)
	}
	if !equal && g.count > 0 && g.last == sequence {
		g.gaps.add(now - g.lastAt)
	}
	g.lastAt = now
	if g.last != sequence && u.order != 0 {
		g.byUse.move(u.order, g.count)
		g.byFree.move(u.freed, g.count)
	}
	if repeat {
		if equal {
			u.lastAt, u.freed = now, g.count
		}
		return true
	}
	g.fixed = g.count > 0 && g.last == sequence
	g.last = sequence
	g.count++
	*u = numberUse{order: g.count, freed: g.count, hash: hash, began: now, lastAt: now}
	return false
}

// isRepeat judges a frame that is equal to the last one with its number.
func (g *numbering) isRepeat(sequence uint8, now time.Duration) bool {
	u := &g.numbers[sequence]
	switch {
	case now-u.began >= SequenceExpiration:
		return false
	case now-u.lastAt < earliestRetry && (g.fixed || g.count > u.order):
		return false
	case g.count > u.order: // others came since
		return !g.byUse.has(u.order, g.count) && !g.byFree.has(u.freed, g.count) && g.mayRetry(now-u.lastAt)
	case g.fixed && g.retries.known():
		return g.mayRetry(now - u.lastAt)
	case g.fixed && g.gaps.known():
		return !g.gaps.has(now - g.lastAt)
	case g.fixed:
		return now-u.began < latestRetry
	}
	return true
}

// mayRetry reports whether the requester repeats after such a time. Three repeats may be lost.
func (g *numbering) mayRetry(interval time.Duration) bool {
	if !g.retries.known() {
		return true
	}
	for n := time.Duration(1); n <= 4; n++ {
		if g.retries.has(interval / n) {
			return true
		}
	}
	return false
}

// turn is the place of a requester that always uses its numbers in the same order: the place that
// the number of its newest request had in the turn before.
type turn struct {
	place, before uint64 // 0 in the first turn
	inRow         int    // how many places followed each other up to before
}

// move takes the place that a number had. Several that follow each other are no repeats.
func (t *turn) move(place, count uint64) {
	if isNear(place, t.before) {
		t.inRow++
	} else {
		t.inRow = 0
	}
	if t.has(place, count) {
		t.place = place
	}
	t.before = place
}

// has reports whether a number with this place is due after this many requests.
func (t *turn) has(place, count uint64) bool {
	follows := isNear(place, t.place) && (t.place > 0 || count-place >= firstTurn)
	return follows || t.inRow >= turnFound && isNear(place, t.before)
}

func isNear(a, b uint64) bool { return a <= b+turnSlack && b <= a+turnSlack }

// span is the range between the shortest and the longest of the last times.
type span struct{ low, high time.Duration }

func (s *span) known() bool { return s.high != 0 }

func (s *span) add(d time.Duration) {
	if !s.known() {
		*s = span{d, d}
		return
	}
	s.low = min(d, s.low+(d-s.low)/8)
	s.high = max(d, s.high-(s.high-d)/8)
}

// has reports whether d is in the span, or near it.
func (s *span) has(d time.Duration) bool { return s.low*9/10 <= d && d <= s.high*11/10 }
