package host

import (
	"errors"
	"time"

	"ipmbd/ipmi"
)

// Port is one system interface. One goroutine at a time calls Read, one at a time calls the
// methods that write, and any may call Close. Methods that write may wait, for a bounded
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

// DirectWriter is a Port that can write answers without a wait, so that any goroutine that
// has an answer may write it.
type DirectWriter interface {
	// WriteDirect writes as much of the answer as it can without a wait. It returns false
	// if some of it is left to Finish, which is called before anything else is written.
	WriteDirect(Response) (done bool, err error)
	// Finish writes what WriteDirect has left, and may wait.
	Finish() error
}

// ErrUnsupported: the Port, or the one at its other end, cannot do it.
var ErrUnsupported = errors.New("not supported by the host's interface")
