package host

import (
	"errors"
	"time"

	"ipmbd/ipmi"
)

// Port is one system interface. Read is called by one goroutine at a time, all
// that writes by one at a time, and Close by any. What writes may wait, for a bounded
// time.
type Port interface {
	// Read waits for the next request. Its data are valid until the next Read.
	Read() (Request, error)
	// Write answers a request.
	Write(Response) error
	// SetAttention shows the host whether messages wait.
	SetAttention(Attention) error
	// Limits is constant.
	Limits() Limits
	// Close ends Read and Write.
	Close() error
}

// Request is a request of a host's.
type Request struct {
	Tag     uint8 // comes back in the response
	NetFn   ipmi.NetFn
	LUN     ipmi.LUN
	Command ipmi.Command
	Data    []byte
}

// Response is the answer to a Request.
type Response struct {
	Tag     uint8
	NetFn   ipmi.NetFn // odd
	LUN     ipmi.LUN
	Command ipmi.Command
	Code    ipmi.CompletionCode
	Data    []byte
}

// Attention is what a host is shown of the messages that wait for it.
type Attention struct {
	Raised     bool // there are some
	Interrupt  bool // and it wants to be interrupted for them
	Interrupts bool // it wants interrupts at all
}

// Limits is what a Port can carry.
type Limits struct {
	// MaxData is how much data a response may have, behind the completion code.
	MaxData int
	// Deadline is how long the host waits for an answer, less what its way takes.
	Deadline time.Duration
}

// DirectWriter is a Port that can write answers without a wait, so that the goroutine
// that has an answer may write it, whoever else it works for.
type DirectWriter interface {
	// WriteDirect is Write, as far as that needs no wait. False: part of the answer, or
	// all of it, is left to Finish, which is called before anything else is written.
	WriteDirect(Response) (done bool, err error)
	// Finish writes what WriteDirect has left, and may wait.
	Finish() error
}

// ErrUnsupported: the Port, or the one at its other end, cannot do it.
var ErrUnsupported = errors.New("not supported by the host's interface")
