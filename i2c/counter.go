package i2c

// Counter is a Transport that counts what it dropped, so that a frame lost
// below the codec is not lost without a trace.
type Counter interface {
	// Counters is a snapshot of the counters by name, "dropped-..." as a
	// rule. They start at 0 with the transport and only grow.
	Counters() map[string]uint64
}
