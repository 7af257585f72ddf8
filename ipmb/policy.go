package ipmb

import "time"

// RetryPolicy says how long and how often a request is sent. The zero value is
// ipmbbridge's: 6 times, 250 ms apart.
type RetryPolicy struct {
	// Tries is how many slots of Timeout a call has; in each the request is
	// written, and once more if the first write was not acknowledged or lost
	// arbitration. 0 is 6.
	Tries int
	// Timeout is the length of a slot. 0 is 250 ms.
	Timeout time.Duration
}

// Defaults and bounds of a policy.
const (
	DefaultTries   = 6
	DefaultTimeout = 250 * time.Millisecond
	MaxTries       = 64
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Minute
)

// Or is p with what it leaves open taken from d, and then from the defaults.
func (p RetryPolicy) Or(d RetryPolicy) RetryPolicy {
	for _, from := range []RetryPolicy{d, {DefaultTries, DefaultTimeout}} {
		if p.Tries == 0 {
			p.Tries = from.Tries
		}
		if p.Timeout == 0 {
			p.Timeout = from.Timeout
		}
	}
	return p
}

// Duration is the whole time of a policy, from the first transmission.
func (p RetryPolicy) Duration() time.Duration { return time.Duration(p.Tries) * p.Timeout }
