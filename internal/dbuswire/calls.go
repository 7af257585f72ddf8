package dbuswire

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
)

const (
	// maxCalls is how many calls of StartCall a connection has in progress, including those that
	// no requester waits for any more. The system bus lets a connection wait for 128 replies
	// (dbus-daemon, max_replies_per_connection).
	maxCalls = 100
	// shareOfFree limits the calls of one share to that many times the places that are free:
	// a share alone has 80 of the 100, two have 44 each, 16 have 6 each, and another one
	// always finds a place.
	shareOfFree = 4
)

// ErrBusy: too many calls have no reply yet.
var ErrBusy = errors.New("too many calls without a reply")

// Place says which limit a call counts against.
type Place struct {
	// Share is the name of a share of the connection's 100 calls. One share has at most four
	// times as many calls as places are free.
	Share string
	// Extra is for a call without a share: how many places there are beyond the 100.
	Extra int
}

// Call is a method call whose reply is awaited. The connection calls one of the methods, once.
// They must not block.
type Call interface {
	// Replied ends the call with a method return or an error. The reading goroutine calls it, in
	// the order of the replies. The message is valid until it returns.
	Replied(reply *Message)
	// Lost ends the call because the connection is lost.
	Lost()
}

// StartCall sends a method call and returns. The message is a call with this serial. If it returns
// an error, ErrBusy or ErrDisconnected, it calls no method of the call.
func (c *Conn) StartCall(serial uint32, message []byte, call Call, place Place) error {
	if err := c.calls.addCall(serial, call, place); err != nil {
		return err
	}
	if err := c.Send(message, nil); err != nil && c.calls.removeCall(serial) != nil {
		return err
	}
	return nil
}

// StartBusCall is StartCall for a method of the message bus that takes a name.
func (c *Conn) StartBusCall(member, name string, call Call, place Place) error {
	h := Header{
		Type:        TypeCall,
		Serial:      c.NewSerial(),
		Path:        string(BusPath),
		Interface:   BusInterface,
		Member:      member,
		Destination: BusName,
		Signature:   "s",
	}
	return c.StartCall(h.Serial, Finish(AppendString(h.Begin(len(name)+8), name)), call, place)
}

// calls has the calls of StartCall that have no reply. A call whose requester no longer waits
// stays: the message bus counts it too, and its late reply must not end another call.
type calls struct {
	mu      sync.Mutex
	pending map[uint32]pendingCall // by serial
	shares  map[string]int         // how many of them each share has
	closed  bool                   // the connection is lost
}

type pendingCall struct {
	call  Call
	share string
}

// addCall gives a call its place. The errors are ErrBusy and ErrDisconnected.
func (c *calls) addCall(serial uint32, call Call, place Place) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := maxCalls - len(c.pending)
	full := free+place.Extra <= 0
	if place.Share != "" {
		full = c.shares[place.Share] >= shareOfFree*free
	}
	switch {
	case c.closed:
		return ErrDisconnected
	case full:
		return ErrBusy
	case c.pending == nil:
		c.pending, c.shares = make(map[uint32]pendingCall), make(map[string]int)
	}
	c.pending[serial] = pendingCall{call, place.Share}
	if place.Share != "" {
		c.shares[place.Share]++
	}
	return nil
}

// removeCall takes a call out. It is nil if the call has ended, or is about to.
func (c *calls) removeCall(serial uint32) Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pending[serial]
	if !ok {
		return nil
	}
	delete(c.pending, serial)
	if p.share != "" {
		if c.shares[p.share]--; c.shares[p.share] == 0 {
			delete(c.shares, p.share)
		}
	}
	return p.call
}

// endCall ends the call that a message is the reply to, and reports whether there is one.
func (c *calls) endCall(reply *Message) bool {
	call := c.removeCall(reply.ReplySerial)
	if call == nil {
		return false
	}
	call.Replied(reply)
	return true
}

// endCalls ends all calls in the order in which they were made, and refuses further ones: the
// connection is lost.
func (c *calls) endCalls() {
	c.mu.Lock()
	c.closed = true
	pending := c.pending
	c.pending, c.shares = nil, nil
	c.mu.Unlock()
	// Serials begin again after 2^32 messages.
	inOrder := func(a, b uint32) int { return cmp.Compare(int32(a-b), 0) }
	for _, serial := range slices.SortedFunc(maps.Keys(pending), inOrder) {
		pending[serial].call.Lost()
	}
}
