package dbusapi

import (
	"context"
	"time"
)

// answerTime is what an answer's way to the requester may take within the time of
// its request.
const answerTime = 50 * time.Millisecond

// takenUntil is until when the answer to a request is taken that is served until ctx
// ends. Then its requester is told that there was none, by somebody else who looks at
// the same clock: what is taken must be with him before. The zero time is for ever.
func takenUntil(ctx context.Context) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return deadline.Add(-min(answerTime, time.Until(deadline)/20))
}

// isPast reports whether a time of takenUntil is over.
func isPast(until time.Time) bool { return !until.IsZero() && !time.Now().Before(until) }
