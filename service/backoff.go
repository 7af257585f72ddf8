package service

import "time"

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	// settled is how long a bus must have been up for its next failure to
	// count as the first.
	settled = 10 * time.Second
)

// backoff is the time between attempts to open a bus: doubled with each, so
// that a device that comes and goes is back soon and an absent one costs
// nothing.
type backoff struct{ next time.Duration }

// after is how long to wait after an attempt that lasted the given time.
func (b *backoff) after(lasted time.Duration) time.Duration {
	if b.next == 0 || lasted >= settled {
		b.next = firstRetry
	}
	wait := b.next
	b.next = min(2*b.next, lastRetry)
	return wait
}
