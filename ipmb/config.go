package ipmb

import (
	"cmp"
	"time"

	"ipmbd/ipmi"
)

// Config describes an engine. The zero value of every field is its default. The engine calls
// the functions without a lock held. They must not block. A frame's or request's Data is valid
// until the function returns. nil is a function that does nothing.
type Config struct {
	// Address is our own address on the bus. 0 is ipmi.BMCAddress, 20h.
	Address ipmi.Address
	// Interface, Channel and Host go into each request that the handler gets.
	Interface string
	Channel   ipmi.Channel
	Host      int
	// RetryPolicy is that of calls that bring none.
	RetryPolicy RetryPolicy
	// MaxFrame limits the frames sent, in bytes. 0 leaves the limit to the transport.
	MaxFrame int
	// MaxWaiting is how many calls of a responder and command may wait for a number. 0 is 256.
	MaxWaiting int

	// Handler answers requests. nil answers them all C1h.
	Handler ipmi.Handler
	// HandlerTimeout is how long a handler has before the engine answers C3h. 0 is 5 s.
	HandlerTimeout time.Duration
	// BridgeTimeout is how long the handler has for a request that it sends on to another bus,
	// for example. For 0 the time is HandlerTimeout. Requests with a time of their own have a
	// MaxHandlers of their own, so that they do not hold up others. nil is 0 for all.
	BridgeTimeout func(f Frame) time.Duration
	// Served is given the end of each request that a handler had: the completion code of the
	// response, and the error that the code stands for.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
	// MaxHandlers is how many requests may be in handlers. Others are answered C0h. 0 is 64.
	MaxHandlers int
	// MaxResponses is how many responses may wait to be written. When so many wait, requests
	// are dropped before a handler runs. 0 is 256.
	MaxResponses int
	// DuplicateWindow is how long a response is kept for repeats of its request; see Repeats in
	// the package's documentation. 0 is 5 s. A negative time keeps none.
	DuplicateWindow time.Duration
	// Effect is the effect of serving a request twice, which decides which frames count as
	// repeats. nil asks Handler if it is an ipmi.EffectTeller, and else ipmi.EffectOf.
	Effect func(*ipmi.Request) ipmi.Effect

	// Received is given each valid frame, before anything is done about it.
	Received func(f Frame)
	// Reading is given true when the engine begins to read, and false when the transport has
	// ended.
	Reading func(on bool)
	// Wrote is given the outcome of each write of a frame, from one goroutine at a time.
	Wrote func(err error)
	// Stalled is given true when a write has taken StallTime, and false when it has returned.
	Stalled func(stalled bool)
	// Together is given the work on the frames of a read that brought several, and calls it
	// once. It may collect in one write what the work sends to clients. nil calls the work.
	Together func(work func())
	// UnsolicitedResponse is given responses to our SMS LUN that no call waits for; nil: none is.
	UnsolicitedResponse func(f Frame)
}

// withDefaults fills the fields that were left open.
func (c Config) withDefaults() Config {
	c.Address = cmp.Or(c.Address, ipmi.BMCAddress)
	c.RetryPolicy = c.RetryPolicy.Or(RetryPolicy{})
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 256)
	c.HandlerTimeout = cmp.Or(c.HandlerTimeout, 5*time.Second)
	c.MaxHandlers = cmp.Or(c.MaxHandlers, 64)
	c.MaxResponses = cmp.Or(c.MaxResponses, 256)
	c.DuplicateWindow = max(cmp.Or(c.DuplicateWindow, SequenceExpiration), 0)
	if c.Handler == nil {
		c.Handler = new(ipmi.Mux)
	}
	if c.BridgeTimeout == nil {
		c.BridgeTimeout = func(Frame) time.Duration { return 0 }
	}
	if c.Served == nil {
		c.Served = func(*ipmi.Request, ipmi.CompletionCode, error) {}
	}
	if c.Effect == nil {
		c.Effect = ipmi.EffectOf
		if teller, ok := c.Handler.(ipmi.EffectTeller); ok {
			c.Effect = teller.Effect
		}
	}
	if c.Received == nil {
		c.Received = func(Frame) {}
	}
	if c.Reading == nil {
		c.Reading = func(bool) {}
	}
	if c.Wrote == nil {
		c.Wrote = func(error) {}
	}
	if c.Stalled == nil {
		c.Stalled = func(bool) {}
	}
	if c.Together == nil {
		c.Together = func(work func()) { work() }
	}
	return c
}
