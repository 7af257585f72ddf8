package bus

import (
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Link carries what a bus sends. Its methods do not block, and may be called from several
// goroutines at once, also while the bus is down.
type Link interface {
	// Send sends a request, whose data is valid until it returns. Without an error, the
	// link calls c.End once, from any goroutine and without a lock held.
	Send(c *Call, req *ipmb.Request) error
	// Cancel ends a request of Send with context.Canceled, if it has not ended.
	Cancel(c *Call)
	// StartBroadcast and StartRespond are as those of ipmb.Engine.
	StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error
	StartRespond(frame []byte, done func(error)) error
	// Address is our own address on the bus.
	Address() ipmi.Address
	// RetryPolicy is the policy of requests that bring none.
	RetryPolicy() ipmb.RetryPolicy
	// MaxFrame is the longest frame that can be sent, in bytes; 0 when it is not known.
	MaxFrame() int
}

// engineLink is an engine as a Link.
type engineLink struct{ *ipmb.Engine }

// Engine makes a Link of an engine.
func Engine(e *ipmb.Engine) Link { return engineLink{e} }

// Send implements Link.
func (l engineLink) Send(c *Call, req *ipmb.Request) error { return l.Engine.Send(c.wire, req) }

// Cancel implements Link.
func (l engineLink) Cancel(c *Call) { c.wire.Cancel() }
