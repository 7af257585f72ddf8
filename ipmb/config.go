package ipmb

import (
	"cmp"
	"fmt"
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
	// RetryPolicy is the policy of calls without a policy of their own.
	RetryPolicy RetryPolicy
	// MaxFrame limits the frames sent, in bytes. 0 leaves the limit to the transport.
	MaxFrame int
	// MaxWaiting is how many calls of a responder and command may wait for a number. 0 is 256.
	MaxWaiting int

	// Handler answers requests. nil answers them all C1h.
	Handler ipmi.Handler
	// HandlerTimeout is how long a handler has before the engine answers C3h. 0 is 5 s.
	HandlerTimeout time.Duration
	// BridgeTimeout returns how long the handler has for a request that takes another time, for
	// example because the handler sends it on to another bus. 0 stands for HandlerTimeout.
	// Requests with a time of their own have a MaxHandlers of their own, so that they do not delay
	// others. nil is 0 for all requests.
	BridgeTimeout func(f Frame) time.Duration
	// Served gets the completion code of each request that a handler had, and its error.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
	// MaxHandlers is how many requests may be in handlers. Others are answered C0h. 0 is 64.
	MaxHandlers int
	// MaxResponses is how many responses may wait before requests are dropped. 0 is 256.
	MaxResponses int
	// DuplicateWindow is how long a response is kept for repeats of its request; see Repeats in
	// the package's documentation. 0 is 5 s. With a negative time no response is kept.
	DuplicateWindow time.Duration
	// Effect is the effect of serving a request twice, which decides which frames count as
	// repeats. nil asks Handler if it is an ipmi.EffectTeller, and else ipmi.EffectOf.
	Effect func(*ipmi.Request) ipmi.Effect

	// Received gets each valid frame, before the engine acts on it.
	Received func(f Frame)
	// Reading gets true when the engine begins to read, and false when the transport ends.
	Reading func(on bool)
	// Wrote gets the outcome of each write of a frame, from one goroutine at a time.
	Wrote func(err error)
	// Stalled gets true when a write has taken StallTime, and false when it has returned.
	Stalled func(stalled bool)
	// Together gets the work on the frames of a read that brought several, and calls it once. It
	// may collect in one write the messages that the work sends to clients. nil calls the work.
	Together func(work func())
	// UnsolicitedResponse gets the responses to our SMS LUN that no call waits for. nil drops them
	// like all others.
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

// Request is a request that an engine sends.
type Request struct {
	Responder    ipmi.Address
	NetFn        ipmi.NetFn // even
	LUN          ipmi.LUN   // the responder's
	RequesterLUN ipmi.LUN
	Command      ipmi.Command
	Data         []byte

	// RetryPolicy overrides the engine's where it is not zero.
	RetryPolicy RetryPolicy
	// FailFast ends the call when a slot's writes were not acknowledged. With one try that is one
	// write.
	FailFast bool
	// NoWait ends the call with ErrBusy if no sequence number is free. The call still waits for a
	// number in quarantine, which on I2C is usually free within 40 ms.
	NoWait bool
	// GeneralCall sends the request to all nodes, and Responder answers it (IPMI v2.0, section
	// 20.9). It is possible for Get Device ID only, with one try.
	GeneralCall bool
}

// RetryPolicy says how long and how often a request is sent. Zero is 6 times, 250 ms apart.
type RetryPolicy struct {
	// Tries is how many slots of Timeout a call has. In each slot the request is written, and
	// once more if the first write was not acknowledged or lost arbitration. 0 is 6.
	Tries int
	// Timeout is the length of a slot. 0 is 250 ms.
	Timeout time.Duration
}

// Defaults and bounds of a RetryPolicy.
const (
	DefaultTries   = 6
	DefaultTimeout = 250 * time.Millisecond
	MaxTries       = 64
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Minute
)

// Or fills the zero fields of p from d, and then from the defaults.
func (p RetryPolicy) Or(d RetryPolicy) RetryPolicy {
	return RetryPolicy{
		Tries:   cmp.Or(p.Tries, d.Tries, DefaultTries),
		Timeout: cmp.Or(p.Timeout, d.Timeout, DefaultTimeout),
	}
}

// Duration is the whole time of a policy, from the first transmission.
func (p RetryPolicy) Duration() time.Duration { return time.Duration(p.Tries) * p.Timeout }

// Check returns ErrInvalid if a field of the request is out of range.
func (req *Request) Check() error {
	policy := req.RetryPolicy.Or(RetryPolicy{})
	switch {
	case !req.Responder.IsSlave():
		return invalid("responder address %02Xh", uint8(req.Responder))
	case req.NetFn > ipmi.MaxNetFn:
		return invalid("netFn %02Xh", uint8(req.NetFn))
	case req.NetFn.IsResponse():
		return invalid("netFn %02Xh of a response", uint8(req.NetFn))
	case req.LUN > ipmi.MaxLUN:
		return invalid("LUN %d", req.LUN)
	case req.RequesterLUN > ipmi.MaxLUN:
		return invalid("requester LUN %d", req.RequesterLUN)
	case policy.Tries < 1 || policy.Tries > MaxTries:
		return invalid("%d tries: 1 to %d are possible", policy.Tries, MaxTries)
	case policy.Timeout < MinTimeout || policy.Timeout > MaxTimeout:
		return invalid("time-out of %v: %v to %v are possible", policy.Timeout, MinTimeout, MaxTimeout)
	case req.GeneralCall && (req.NetFn != ipmi.NetFnApp || req.Command != ipmi.CommandGetDeviceID):
		return invalid("general call with another command than Get Device ID")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
