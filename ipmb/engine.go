package ipmb

import (
	"context"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// Config describes an engine. The zero value of every field is its default.
type Config struct {
	// Address is our own address on the bus. The default is 20h, the BMC's.
	Address ipmi.Address
	// Interface, Channel and Host go into each request handed to the handler.
	Interface string
	Channel   ipmi.Channel
	Host      int
	// Policy is the policy of calls that bring none.
	Policy Policy
	// MaxFrame limits the frames sent, in bytes; 0 leaves it to the transport.
	MaxFrame int
	// MaxWaiting is how many calls may wait for a number of one responder,
	// network function and command. 0 is 256.
	MaxWaiting int

	// Handler answers requests; nil answers them all C1h.
	Handler ipmi.Handler
	// HandlerTimeout is how long a handler has before the requester is
	// answered C3h. 0 is 5 s.
	HandlerTimeout time.Duration
	// MaxHandlers is how many requests may be in handlers at a time; more are
	// answered C0h. 0 is 64.
	MaxHandlers int
	// MaxAnswers is how many answers may wait to be written; when they do,
	// requests are dropped before a handler runs. 0 is 256.
	MaxAnswers int
	// DuplicateWindow is how long an answer is kept for a repeated request.
	// 0 is 5 s; negative keeps none.
	DuplicateWindow time.Duration

	// Observer is told what passes; nil for nobody.
	Observer Observer
}

// Observer is told what passes on the bus. Its methods are called from the
// engine's loops without a lock held; they must not block.
type Observer interface {
	// Received is each valid frame, before anything is done about it. f.Data
	// is valid until the method returns.
	Received(f Frame)
	// Stalled says that a write has been in the kernel for StallTime (true),
	// and that it has returned (false).
	Stalled(stalled bool)
}

// Request is a request to be sent.
type Request struct {
	Responder    ipmi.Address
	NetFn        ipmi.NetFn // even
	LUN          ipmi.LUN   // the responder's
	RequesterLUN ipmi.LUN
	Command      ipmi.Command
	Data         []byte

	// Policy overrides the engine's where it is not zero.
	Policy Policy
	// FailFast ends the call when a slot's writes were not acknowledged.
	FailFast bool
	// NoWait ends the call with ErrBusy rather than wait for a number.
	NoWait bool
	// GeneralCall sends to all nodes and lets Responder answer (IPMI v2.0,
	// section 20.9): Get Device ID only, one try.
	GeneralCall bool
}

// Engine is the requester and the responder on one bus. See the package's
// promises.
type Engine struct{ /* in work */ }

// New makes an engine. It is at rest until Run.
func New(config Config) *Engine { panic("in work") }

// Run serves the bus on t until ctx ends, Close is called on t, or t fails,
// and returns the cause. It closes t, ends all calls with ErrClosed and
// cancels the handlers. It may be called again, with another transport, when
// it has returned.
func (e *Engine) Run(ctx context.Context, t i2c.Transport) error { panic("in work") }

// Do sends a request and waits for the answer. See errors.go for the errors.
func (e *Engine) Do(ctx context.Context, req Request) (ipmi.Response, error) { panic("in work") }

// Start sends a request and returns at once; ctx ends the call early.
func (e *Engine) Start(ctx context.Context, req Request) (*Call, error) { panic("in work") }

// Call is a request on its way.
type Call struct{}

// Accepted waits until the bus has taken the request (nil) or the call has
// ended without (its error). An answer is an acceptance.
func (c *Call) Accepted() error { panic("in work") }

// Answer waits for the end of the call, which is the same for every caller.
func (c *Call) Answer() (ipmi.Response, error) { panic("in work") }

// Broadcast writes a request to address 00h as ipmbbridge does: a plain frame
// with sequence number 0, to which no answer is expected, written up to four
// times until it is acknowledged.
func (e *Engine) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	panic("in work")
}

// Address is our own address, SetAddress changes it; calls that are under way
// keep the address they were sent from.
func (e *Engine) Address() ipmi.Address { panic("in work") }

// SetAddress changes our own address.
func (e *Engine) SetAddress(a ipmi.Address) { panic("in work") }

// Policy is the policy of calls that bring none; SetPolicy changes it.
func (e *Engine) Policy() Policy { panic("in work") }

// SetPolicy changes the policy of calls that bring none.
func (e *Engine) SetPolicy(p Policy) { panic("in work") }

// Statistics is a snapshot of the counters by their names.
func (e *Engine) Statistics() map[string]uint64 { panic("in work") }
