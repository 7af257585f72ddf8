package dbusapi

import (
	"fmt"
	"sync"
	"time"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// hostLine keeps the order of a host's requests while the receiver of one of them, which
// carries a secret, is looked for: the requests behind it wait in line. There are no more
// of them than there are numbers.
type hostLine struct {
	host *HostIPMI

	mu       sync.Mutex
	requests []*hostRequest
}

// enter puts a request into the line, if it carries a secret or others are in line.
// Otherwise it is false.
func (l *hostLine) enter(r *hostRequest, secret bool) bool {
	l.mu.Lock()
	if len(l.requests) == 0 && !secret {
		l.mu.Unlock()
		return false
	}
	l.requests = append(l.requests, r)
	first := len(l.requests) == 1
	l.mu.Unlock()
	if first {
		l.show(r)
	}
	return true
}

// show deals with the requests in line, r being the first, up to one for whose receiver it
// has to wait.
func (l *hostLine) show(r *hostRequest) {
	for ; r != nil; r = l.leave() {
		if isLate(r.Request, time.Now()) {
			l.host.requests.remove(r) // Its owner has answered it; nobody else will.
			continue
		}
		if !ipmi.CarriesSecret(r.NetFn, r.Command, r.Data) {
			l.host.emit("", r)
			continue
		}
		look := &ownerLookup{line: l, request: r, names: []string{l.host.requests.lastAnswerer(), xml.HostDaemonName}}
		if look.begin() {
			return
		}
	}
}

// leave takes the first request out of the line, when it has been dealt with, and gives
// the next one.
func (l *hostLine) leave() *hostRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = l.requests[1:]
	if len(l.requests) == 0 {
		l.requests = nil
		return nil
	}
	return l.requests[0]
}

// ownerLookup finds the connection that is shown a request with a secret. It is the call
// that asks the message bus.
type ownerLookup struct {
	line    *hostLine
	request *hostRequest
	names   []string // to be looked for, in this order; "" for none
}

// begin asks the message bus, false if there is nothing to wait for: the request has been
// dealt with.
func (l *ownerLookup) begin() bool {
	host := l.line.host
	for len(l.names) > 0 && l.names[0] == "" {
		l.names = l.names[1:]
	}
	if len(l.names) == 0 {
		host.requests.end(l.request, errNoReceiver)
		return false
	}
	switch err := host.conn.StartBusCall("GetNameOwner", l.names[0], l, dbuswire.Place{Extra: reserved}); err {
	case nil:
		return true
	case dbuswire.ErrBusy:
		host.requests.end(l.request, ipmi.ErrBusy)
	default:
		host.requests.end(l.request, errBusLost)
	}
	return false
}

// errNoReceiver: nobody is to see the request.
var errNoReceiver = fmt.Errorf("%w: it may carry a secret, and nobody is known who answers", ipmi.ErrDenied)

// Replied implements dbuswire.Call. A name without an owner has left, or never came.
func (l *ownerLookup) Replied(m *dbuswire.Message) {
	args := m.Arguments()
	owner := args.String()
	if m.Type == dbuswire.TypeReturn && string(m.Signature) == "s" && args.OK() {
		l.line.host.emit(string(owner), l.request)
	} else {
		l.names = l.names[1:]
		if l.begin() {
			return
		}
	}
	l.line.show(l.line.leave())
}

// Lost implements dbuswire.Call. The requests end with the connection, too.
func (l *ownerLookup) Lost() {}
