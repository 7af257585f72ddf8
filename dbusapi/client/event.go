package client

import (
	"time"

	"ipmbd/ipmi"
)

// EventKind says what an Event tells of.
type EventKind uint8

// Kinds of events.
const (
	RequestSeen    EventKind = iota // a request on its way
	AnswerSeen                      // the answer to a request
	FailureSeen                     // a request that will have no answer
	ServiceStarted                  // ipmbd is on the message bus
	ServiceStopped                  // ipmbd is not
	MessagesLost                    // the monitor was too slow
)

// Event is something that has passed between a bus and the message bus.
type Event struct {
	Time time.Time
	Kind EventKind

	// Incoming: a node on the bus made the request, and a program answers it.
	// Otherwise a program made it.
	Incoming bool
	Bus      string       // empty when it is not known
	Node     ipmi.Address // on the bus; 0 when it is not known, and all nodes for a broadcast
	NetFn    ipmi.NetFn   // of the request
	LUN      ipmi.LUN     // of the request's responder
	Command  ipmi.Command
	Data     []byte // of the request or of the answer; nil when Secret
	// Secret: the data may be a password or a key and are left out.
	Secret bool

	Code   ipmi.CompletionCode // AnswerSeen
	Reason string              // FailureSeen
	Took   time.Duration       // since the request; 0 when that was not seen

	Program string // unique D-Bus name of the program, when it is known
	Lost    int    // MessagesLost: how many
}

// withData is e with data, unless they are not to be shown. n tells a request
// from a response.
func (e Event) withData(n ipmi.NetFn, data []byte) Event {
	if e.Secret = ipmi.CarriesSecret(n, e.Command, data); !e.Secret {
		e.Data = data
	}
	return e
}
