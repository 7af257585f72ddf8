package dbusapi

import (
	"fmt"
	"time"

	"ipmbd/internal/counters"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// target is an object that serves execute.
type target struct {
	title       string // for people: "host daemon"
	destination string
	path        string
	bare        bool // it gets no options
	wide        bool // it gets options that the host daemon does not know
}

var (
	hostDaemon = target{title: "host daemon", destination: xml.HostDaemonName, path: xml.HostDaemonPath}
	// systemInterfaceDaemon is the host daemon to a channel whose requesters have no address.
	systemInterfaceDaemon = target{title: "host daemon", destination: xml.HostDaemonName, path: xml.HostDaemonPath, bare: true}
)

// HostDaemon hands requests to the host IPMI daemon, which finds the IPMI channel by the name
// that the connection owns. It implements ipmi.Handler.
type HostDaemon struct {
	conn   *dbuswire.Conn
	to     *target
	counts *counters.Set[counter]
	line   requestLine
}

// ServeIPMI calls execute: calls reach the daemon in the order of the requests. The errors are
// ipmi.ErrNotPresent if the daemon is not running, ipmi.ErrAbandoned if it stops during the
// request, ipmi.ErrDenied if the request may carry a secret and the daemon does not run as root,
// and ipmi.ErrBusy if too many calls of all interfaces or of this one are in progress. A reply that
// does not fit the request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	h.line.enqueue(h.conn, &execution{conn: h.conn, to: h.to, req: req, reply: reply, counts: h.counts})
}

func (x *execution) request() *ipmi.Request { return x.req }
func (x *execution) receivers() []string    { return []string{x.to.destination} }
func (x *execution) refuse(err error)       { x.reply.Answer(ipmi.Response{}, err) }

func (x *execution) handOn(receiver string) {
	if receiver != "" {
		to := *x.to
		to.destination = receiver
		x.to = &to
	}
	x.startExecute()
}

// execution is a request on its way to a target and back.
type execution struct {
	conn   callConn
	to     *target
	req    *ipmi.Request
	reply  ipmi.Reply
	counts *counters.Set[counter]

	handler *handlerCall // of a call to a registered handler, else nil
}

// callConn is a *dbuswire.Conn as far as an execution needs it.
type callConn interface {
	NewSerial() uint32
	StartCall(serial uint32, message []byte, call dbuswire.Call, place dbuswire.Place) error
}

// handlerPlaces is how many more calls a connection may make to registered handlers, so that a
// host daemon that hangs leaves room for them.
const handlerPlaces = 20

// startExecute makes the call. Its reply, or its failure, answers the request, with the errors of
// HostDaemon.ServeIPMI.
func (x *execution) startExecute() {
	serial := x.conn.NewSerial()
	place := dbuswire.Place{Share: x.req.Interface}
	if x.handler != nil {
		place = dbuswire.Place{Extra: handlerPlaces} // The queue has given it a place.
	}
	switch err := callError(x.conn.StartCall(serial, x.to.marshal(serial, x.req), x, place)); err {
	case nil:
	case errBusLost:
		x.Lost()
	default:
		x.answerRequest(ipmi.Response{}, err, false)
	}
}

// Replied counts an answer that the owner of the request did not take: it came after the deadline.
func (x *execution) Replied(m *dbuswire.Message) {
	fromTarget := string(m.Sender) != dbuswire.BusName // which replies for a program that has left
	res, err := x.to.response(m, x.req)
	if !x.answerRequest(res, err, fromTarget) && fromTarget {
		x.counts.Count(repliesLate)
	}
}

// Lost: waiting requests end after those in progress.
func (x *execution) Lost() {
	last := x.handler != nil && x.handler.endCall(false)
	x.reply.Answer(ipmi.Response{}, errBusLost)
	if last {
		x.handler.queue.startCalls()
	}
}

// answerRequest answers the request, and reports whether the answer was taken. replied says that
// the target has replied.
func (x *execution) answerRequest(res ipmi.Response, err error, replied bool) bool {
	if x.handler != nil {
		x.handler.endCall(replied)
		defer x.handler.queue.startCalls() // The answer does not wait for it.
	}
	return x.reply.Answer(res, err)
}

// isLate reports whether the owner of a request has answered it, at its deadline.
func isLate(req *ipmi.Request, now time.Time) bool {
	return !req.Deadline.IsZero() && !now.Before(req.Deadline)
}

// errBusLost: the connection is lost, so no answer will come.
var errBusLost = fmt.Errorf("%w: %w", ipmi.ErrAbandoned, dbuswire.ErrDisconnected)

// callError returns the requester's error for an error of dbuswire.Conn.StartCall.
func callError(err error) error {
	switch err {
	case nil:
		return nil
	case dbuswire.ErrBusy:
		return ipmi.ErrBusy
	}
	return errBusLost
}

// marshal makes a call of execute: netFn, LUN, command, data and options. The host daemon wants
// the requester's address in its 7-bit form, and takes int32 only.
func (to *target) marshal(serial uint32, req *ipmi.Request) []byte {
	const room = 128 // bytes, more than the options with the name of a bus are
	h := dbuswire.Header{
		Type:        dbuswire.TypeCall,
		Flags:       dbuswire.FlagNoAutoStart,
		Serial:      serial,
		Path:        to.path,
		Interface:   xml.ExecuteInterface,
		Member:      xml.ExecuteMember,
		Destination: to.destination,
		Signature:   xml.ExecuteIn,
	}
	b := append(h.Begin(len(req.Data)+room), byte(req.NetFn), byte(req.LUN), byte(req.Command))
	b, options := dbuswire.BeginArray(dbuswire.AppendBytes(b, req.Data))
	if !to.bare {
		b = dbuswire.AppendUint32(dbuswire.AppendKey(b, "rqSA", "i"), uint32(req.Requester>>1))
		b = dbuswire.AppendUint32(dbuswire.AppendKey(b, "hostId", "i"), uint32(int32(req.Host)))
	}
	if to.wide {
		b = append(dbuswire.AppendKey(b, "channel", "y"), byte(req.Channel))
		b = dbuswire.AppendString(dbuswire.AppendKey(b, "interface", "s"), req.Interface)
		b = append(dbuswire.AppendKey(b, "requester", "y"), byte(req.Requester))
	}
	return dbuswire.Finish(dbuswire.EndArray(b, options))
}

// response reads the reply to a request. Its data are a view of the message.
func (to *target) response(m *dbuswire.Message, req *ipmi.Request) (ipmi.Response, error) {
	netFn, cmd, res, err := parseExecuted(m)
	switch {
	case err != nil:
		return ipmi.Response{}, fmt.Errorf("%s: %w", to.title, err)
	case netFn != req.NetFn.Response() || cmd != req.Command:
		return ipmi.Response{}, fmt.Errorf("%s: reply to %02Xh/%02Xh has netFn %02Xh and command %02Xh",
			to.title, uint8(req.NetFn), uint8(req.Command), uint8(netFn), uint8(cmd))
	}
	return res, nil
}

// parseExecuted reads the reply to a call of execute: one struct of netFn, LUN, command,
// completion code and data; or an error.
func parseExecuted(m *dbuswire.Message) (netFn ipmi.NetFn, cmd ipmi.Command, res ipmi.Response, err error) {
	switch {
	case m.Type == dbuswire.TypeError && string(m.Sender) == dbuswire.BusName:
		return 0, 0, res, BusError(string(m.ErrorName), m.ErrorText())
	case m.Type == dbuswire.TypeError:
		return 0, 0, res, peerError(string(m.ErrorName), m.ErrorText())
	case string(m.Signature) != xml.ExecuteOut:
		return 0, 0, res, dbuswire.ErrReply
	}
	r := m.Arguments()
	netFn = ipmi.NetFn(r.Byte())
	r.Byte() // LUN
	cmd, res.Code = ipmi.Command(r.Byte()), ipmi.CompletionCode(r.Byte())
	if res.Data = r.Bytes(); !r.AtEnd() {
		return 0, 0, ipmi.Response{}, dbuswire.ErrReply
	}
	return netFn, cmd, res, nil
}

// busErrors is the table from errors of the message bus to errors of a handler. If the program
// itself returns such a name, the name means nothing: the program may have executed the request,
// and may pass on an error that it got.
var busErrors = map[string]error{
	"org.freedesktop.DBus.Error.ServiceUnknown": ipmi.ErrNotPresent,
	"org.freedesktop.DBus.Error.NameHasNoOwner": ipmi.ErrNotPresent,
	"org.freedesktop.DBus.Error.NoReply":        ipmi.ErrAbandoned,
	"org.freedesktop.DBus.Error.Disconnected":   ipmi.ErrAbandoned,
	"org.freedesktop.DBus.Error.LimitsExceeded": ipmi.ErrBusy,
}

// BusError returns the handler's error for an error of the message bus.
func BusError(name, text string) error {
	if known, ok := busErrors[name]; ok {
		return known
	}
	return peerError(name, text)
}

func peerError(name, text string) error { return fmt.Errorf("%s: %s", name, text) }
