package host

import (
	"errors"
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// Port is one system interface. One goroutine at a time calls Read, one at a time calls the
// methods that write, and any may call Close.
type Port interface {
	// Read waits for the next request. Its data are valid until the next Read.
	Read() (Request, error)
	// Write writes a response as far as that needs no wait. It returns false if Finish must write
	// the rest. Finish is called before anything else is written.
	Write(Response) (done bool, err error)
	// Finish writes the rest of a response, and may wait for a bounded time.
	Finish() error
	// SetAttention shows the host whether messages wait. It may wait for a bounded time.
	SetAttention(ipmi.Attention) error
	// Limits returns the same limits at each call.
	Limits() Limits
	// Close ends Read and the methods that write.
	Close() error
}

// Request is a request of the host.
type Request struct {
	Tag     uint8 // comes back in the response
	NetFn   ipmi.NetFn
	LUN     ipmi.LUN
	Command ipmi.Command
	Data    []byte
}

// parseRequest makes a request of its fields. It returns false for a response.
func parseRequest(tag, netFnLUN, command byte, data []byte) (Request, bool) {
	r := Request{
		Tag:     tag,
		NetFn:   ipmi.NetFn(netFnLUN >> 2),
		LUN:     ipmi.LUN(netFnLUN & 3),
		Command: ipmi.Command(command),
		Data:    data,
	}
	return r, !r.NetFn.IsResponse()
}

// Response is the response to a Request.
type Response struct {
	Tag     uint8
	NetFn   ipmi.NetFn // odd
	LUN     ipmi.LUN
	Command ipmi.Command
	Code    ipmi.CompletionCode
	Data    []byte
}

// netFnLUN is the byte that begins a response.
func (r *Response) netFnLUN() byte { return byte(r.NetFn)<<2 | byte(r.LUN) }

// checkLength returns an error for a response that the medium would cut off.
func (r *Response) checkLength(most int) error {
	if len(r.Data) > most {
		return fmt.Errorf("%w: %d bytes, at most %d fit", ipmi.ErrResponseTooLong, len(r.Data), most)
	}
	return nil
}

// Limits are the limits of a Port.
type Limits struct {
	// MaxData is the number of data bytes that a response may have, behind the completion code.
	MaxData int
	// Deadline is how long the host waits for a response, less the time that the response
	// takes on its way.
	Deadline time.Duration
}

// ErrUnsupported: the Port, or the program at its other end, cannot do this.
var ErrUnsupported = errors.New("not supported by the host's interface")
