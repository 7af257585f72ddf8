package dbusapi

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"ipmbd/ipmi"
)

const (
	// maxExecutes is how many calls of execute one connection has in progress, with those
	// whose deadline has passed and that are not replied to yet. The system bus lets a
	// connection wait for 128 replies (dbus-daemon, max_replies_per_connection).
	maxExecutes = 100
	// reserved is how many more calls of registered handlers there may be, so that a host
	// daemon that hangs leaves room for them.
	reserved = 20
	// shareOfFree limits the calls of one interface to that many times the places that
	// are free: an interface alone has 80 of the 100, two have 44 each, 16 have 6 each,
	// and another one always finds a place.
	shareOfFree = 4
)

// pending is the calls made without the library that have had no reply. A call whose
// requester waits no more stays: the message bus counts it too, and its late reply must
// reach nobody else.
type pending struct {
	mu         sync.Mutex
	calls      map[uint32]owedReply // by serial
	interfaces map[string]int       // calls that count against an interface
	closed     bool                 // the connection is lost

	late atomic.Uint64 // replies that came when nobody waited for them
}

// owedReply is one of them.
type owedReply struct {
	call  awaited
	iface string // that takes its share of the connection; "" for none
}

// awaited is a call whose reply is awaited. It hears of one end, by one of the methods,
// which must not block.
type awaited interface {
	// replied is the end by a reply, a method return or an error. The reading goroutine
	// calls it, in the order in which replies come. It keeps nothing of the message.
	replied(wireMessage)
	// lost is the end by the loss of the connection.
	lost()
}

// add waits for the reply to a call. The errors are ipmi.ErrBusy and errBusLost.
func (p *pending) add(serial uint32, call awaited, iface string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := maxExecutes - len(p.calls)
	busy := p.interfaces[iface] >= shareOfFree*free
	if iface == "" {
		busy = free+reserved <= 0
	}
	switch {
	case p.closed:
		return errBusLost
	case busy:
		return ipmi.ErrBusy
	}
	p.insert(serial, owedReply{call, iface})
	return nil
}

// addLookup waits for the reply to a call that has a place in addition to those of add. It
// returns false when the connection is lost.
func (p *pending) addLookup(serial uint32, call awaited) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.insert(serial, owedReply{call, ""})
	return true
}

func (p *pending) insert(serial uint32, c owedReply) {
	if p.calls == nil {
		p.calls, p.interfaces = make(map[uint32]owedReply), make(map[string]int)
	}
	p.calls[serial] = c
	if c.iface != "" {
		p.interfaces[c.iface]++
	}
}

// remove takes a call out, nil if it is not there: then it has ended, or ends in a moment.
func (p *pending) remove(serial uint32) awaited {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.calls[serial]
	if !ok {
		return nil
	}
	delete(p.calls, serial)
	switch {
	case c.iface == "":
	case p.interfaces[c.iface] == 1:
		delete(p.interfaces, c.iface)
	default:
		p.interfaces[c.iface]--
	}
	return c.call
}

// take ends the call that a message is the reply to, if there is one.
func (p *pending) take(m wireMessage) bool {
	call := p.remove(m.replySerial)
	if call == nil {
		return false
	}
	call.replied(m)
	return true
}

// close ends all calls, in the order in which they were made, and lets no more in: the
// connection is lost.
func (p *pending) close() {
	p.mu.Lock()
	p.closed = true
	calls := p.calls
	p.calls, p.interfaces = nil, nil
	p.mu.Unlock()
	// Serials begin anew after 2^32 calls.
	inOrder := func(a, b uint32) int { return cmp.Compare(int32(a-b), 0) }
	for _, serial := range slices.SortedFunc(maps.Keys(calls), inOrder) {
		calls[serial].call.lost()
	}
}

// countLate is how many replies have come too late.
func (p *pending) countLate() uint64 { return p.late.Load() }
