package host

import "sync/atomic"

// Counter is a Port that counts what came to nothing.
type Counter interface {
	// Counters is a snapshot of the counters by name. They start at 0 with the
	// Port and only grow.
	Counters() map[string]uint64
}

// deviceCounters are those of a device.
type deviceCounters struct {
	malformed  atomic.Uint64 // read, and no request
	superseded atomic.Uint64 // answers to a request before the host's last
	refused    atomic.Uint64 // answers that the driver did not take any more
	unfetched  atomic.Uint64 // answers that waited for the host too long
}

func (c *deviceCounters) snapshot() map[string]uint64 {
	return map[string]uint64{
		"requests-malformed": c.malformed.Load(),
		"answers-superseded": c.superseded.Load(),
		"answers-refused":    c.refused.Load(),
		"answers-unfetched":  c.unfetched.Load(),
	}
}
