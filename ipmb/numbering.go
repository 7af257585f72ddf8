package ipmb

import "time"

const (
	// earliestRetry is the least time after which a requester repeats a request of
	// which it has read no answer: IPMB allows 60 ms, and timers are early.
	earliestRetry = 50 * time.Millisecond
	// latestRetry is when a requester has repeated its request, of which nothing else
	// is known: 250 ms is the most that IPMB allows.
	latestRetry = 300 * time.Millisecond
	// turnSlack is by how many places numbers may come before or after their turn:
	// those of calls that are in flight together change places.
	turnSlack = 4
)

// numbering learns how a requester numbers its requests, by one LUN of its own, and
// tells repeats from new requests that are equal. Requesters use their numbers in
// turn (the next one, or the one that was free for longest), or always the same.
type numbering struct {
	count  uint64 // of new requests
	last   uint8  // number of the newest
	fixed  bool   // the two newest had one number
	reused uint64 // which of them had the number that was used again last
	// retry is the time after which the requester repeats; 0 until it is known.
	retry   time.Duration
	numbers [SequenceNumbers]numberUse
}

// numberUse is the last use of a sequence number.
type numberUse struct {
	order uint64 // of the request, counted from 1; 0 is none
	hash  uint64 // of its frame
	began time.Duration
	heard time.Duration // when the frame came last
}

// hear takes note of a request and reports whether it seems to be a repeat; certain
// says that it is one.
func (g *numbering) hear(sequence uint8, hash uint64, certain bool, now time.Duration) (repeat bool) {
	u := &g.numbers[sequence]
	switch {
	case certain && u.hash == hash:
		g.learn(now - u.heard)
		u.heard = now
		return true
	case certain:
		return true
	case u.hash == hash && g.isRepeat(sequence, now):
		u.heard = now
		return true
	}
	g.fixed = g.count > 0 && g.last == sequence
	g.last = sequence
	g.reused = max(g.reused, u.order)
	g.count++
	*u = numberUse{order: g.count, hash: hash, began: now, heard: now}
	return false
}

// isRepeat judges a frame that is equal to the last one with its number.
func (g *numbering) isRepeat(sequence uint8, now time.Duration) bool {
	u := &g.numbers[sequence]
	switch {
	case u.order == 0 || now-u.began >= sequenceExpiration:
		return false
	case g.count > u.order: // others came since
		return !g.hasTurn(u) && !g.isEarly(u, now)
	case g.fixed:
		return !g.isEarly(u, now) && !g.isLate(u, now)
	}
	return true
}

// hasTurn reports whether the number is due to be used again: those used before it
// have been, those used after it have not.
func (g *numbering) hasTurn(u *numberUse) bool {
	distance := int64(u.order) - int64(g.reused)
	return -turnSlack <= distance && distance <= turnSlack
}

// isEarly reports whether the requester cannot have lost its patience yet.
func (g *numbering) isEarly(u *numberUse, now time.Duration) bool {
	return now-u.heard < max(earliestRetry, g.retry*4/5)
}

// isLate reports whether the requester would have repeated before.
func (g *numbering) isLate(u *numberUse, now time.Duration) bool {
	if g.retry == 0 {
		return now-u.began >= latestRetry
	}
	return now-u.heard > g.retry*5/4
}

// learn takes the time between a request and its repeat. Of several the least is the
// requester's: a repeat may be lost itself.
func (g *numbering) learn(interval time.Duration) {
	if interval >= earliestRetry && (g.retry == 0 || interval < g.retry) {
		g.retry = interval
	}
}
