package dbusapi

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

// errNoReceiver: no program may get the request.
var errNoReceiver = fmt.Errorf("%w: it may carry a secret, and no program of root is known that answers", ipmi.ErrDenied)

// maxLine limits the requests of a requestLine. HostIPMI has as many numbers.
const maxLine = 256

// requestLine hands the requests of an interface on, in their order. A request that may carry a
// secret is for a program of root: its receiver is looked up first, and the requests behind it
// wait. The zero value is ready.
type requestLine struct {
	mu       sync.Mutex
	requests []linedRequest // the receiver of the first one is being looked up
}

// linedRequest is a request in a requestLine.
type linedRequest interface {
	request() *ipmi.Request
	// receivers are the D-Bus names of the programs that may get the request if it carries a
	// secret, in the order in which they are asked for.
	receivers() []string
	// handOn hands the request on: to a connection, or if receiver is empty to any program.
	handOn(receiver string)
	// refuse ends the request. The errors are errNoReceiver, ipmi.ErrNotPresent if none of the
	// receivers is there, ipmi.ErrTooSlow, ipmi.ErrBusy and errBusLost.
	refuse(err error)
}

// isRoot reports whether programs of a user may get secrets, and may change what is served: those
// of root, and of the user of the service, which is root except on a session bus.
func isRoot(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func mayCarrySecret(req *ipmi.Request) bool {
	return ipmi.CarriesSecret(req.NetFn, req.Command, req.Data)
}

// enqueue hands a request on at its turn. Lookups are made by a connection.
func (l *requestLine) enqueue(conn *dbuswire.Conn, r linedRequest) {
	secret := mayCarrySecret(r.request())
	l.mu.Lock()
	n := len(l.requests)
	full := n >= maxLine
	if !full && (n > 0 || secret) {
		l.requests = append(l.requests, r)
	}
	l.mu.Unlock()
	switch {
	case full:
		r.refuse(ipmi.ErrBusy)
	case n > 0:
	case secret:
		l.handOnRequests(conn, r)
	default:
		r.handOn("")
	}
}

// handOnRequests hands on the requests in the line, of which r is the first, up to one whose
// receiver must be looked up.
func (l *requestLine) handOnRequests(conn *dbuswire.Conn, r linedRequest) {
	for ; r != nil; r = l.leaveLine() {
		if isLate(r.request(), time.Now()) {
			r.refuse(ipmi.ErrTooSlow) // Its owner has answered it, and no program saw it.
			continue
		}
		if !mayCarrySecret(r.request()) {
			r.handOn("")
			continue
		}
		look := &receiverLookup{line: l, conn: conn, request: r, names: r.receivers()}
		if look.startLookup() {
			return
		}
	}
}

// leaveLine takes the first request out of the line, and gives the next one.
func (l *requestLine) leaveLine() linedRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = slices.Delete(l.requests, 0, 1)
	if len(l.requests) == 0 {
		return nil
	}
	return l.requests[0]
}

// receiverLookup finds the program of root that gets a request with a secret. It is the call that
// asks the message bus for the owner of a name, and then for the owner's user.
type receiverLookup struct {
	line    *requestLine
	conn    *dbuswire.Conn
	request linedRequest
	names   []string // to be looked up
	owner   string   // of the first name, whose user is being asked for; else empty
	refused bool     // a program below root would answer
}

// startLookup asks the message bus. It returns false if the request has ended, so that there is
// nothing to wait for.
func (l *receiverLookup) startLookup() bool {
	var err error
	place := dbuswire.Place{Extra: handlerPlaces}
	switch {
	case l.owner != "":
		err = callError(l.conn.StartBusCall("GetConnectionUnixUser", l.owner, l, place))
	case len(l.names) > 0:
		err = callError(l.conn.StartBusCall("GetNameOwner", l.names[0], l, place))
	case l.refused:
		err = errNoReceiver
	default:
		err = ipmi.ErrNotPresent
	}
	if err != nil {
		l.request.refuse(err)
	}
	return err == nil
}

// Replied: if the name has no owner, the program has left or never came.
func (l *receiverLookup) Replied(m *dbuswire.Message) {
	args := m.Arguments()
	if l.owner == "" {
		l.owner = string(args.String())
		if m.Type != dbuswire.TypeReturn || string(m.Signature) != "s" || !args.OK() {
			l.nextName()
		}
	} else {
		uid := args.Uint32()
		if m.Type == dbuswire.TypeReturn && string(m.Signature) == "u" && args.OK() && isRoot(uid) {
			l.request.handOn(l.owner)
			l.line.handOnRequests(l.conn, l.line.leaveLine())
			return
		}
		l.refused = true
		l.nextName()
	}
	if !l.startLookup() {
		l.line.handOnRequests(l.conn, l.line.leaveLine())
	}
}

func (l *receiverLookup) nextName() { l.names, l.owner = l.names[1:], "" }

// Lost: the requests in the line end with the connection.
func (l *receiverLookup) Lost() {
	for r := l.request; r != nil; r = l.line.leaveLine() {
		r.refuse(errBusLost)
	}
}
