package client

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// A tracer forgets all calls when it has maxPending, and the oldest of maxReceived requests.
const maxPending, maxReceived = 4096, 256

// tracer makes notices from the messages on the message bus. It does no I/O.
type tracer struct {
	buses    []Bus
	pending  map[callKey]pendingCall
	received []receivedRequest // oldest first
}

// callKey is how a reply names its call.
type callKey struct {
	caller string
	serial uint32
}

// pendingCall is a call without a reply, and the request that it stands for.
type pendingCall struct {
	request Notice
	read    func(n *Notice, body []any) error // reads the reply; if it leaves the Kind, nothing is shown
	locate  func(Notice) string               // finds the bus when the reply comes; nil if it is known
}

// receivedRequest is a request from a bus that may still get a response.
type receivedRequest struct {
	id      uint64
	request Notice
	data    []byte
}

func newTracer(buses []Bus) *tracer {
	return &tracer{buses: buses, pending: make(map[callKey]pendingCall)}
}

// trace returns the notice of a message, if it has one.
func (t *tracer) trace(at time.Time, msg *dbus.Message) (Notice, bool) {
	n := Notice{Time: at}
	switch msg.Type {
	case dbus.TypeSignal:
		return t.traceSignal(n, msg)
	case dbus.TypeMethodCall:
		return t.traceCall(n, msg)
	case dbus.TypeMethodReply, dbus.TypeError:
		return t.traceReply(n, msg)
	}
	return n, false
}

// traceSignal traces NameOwnerChanged and ReceivedMessage.
func (t *tracer) traceSignal(n Notice, msg *dbus.Message) (Notice, bool) {
	if header[string](msg, dbus.FieldMember) == "NameOwnerChanged" {
		var name, before string
		err := dbus.Store(msg.Body, &name, &before, &n.Program)
		if n.Kind = ServiceStarted; n.Program == "" {
			n.Kind = ServiceStopped
		}
		return n, err == nil && name == xml.ServiceName
	}
	var id uint64
	var requester uint8
	data, ok := n.readRequest(msg.Body, &id, &requester)
	if !ok {
		return n, false
	}
	n.Incoming, n.Bus, n.Node = true, t.busAt(msg).Name, ipmi.Address(requester)
	if len(t.received) == maxReceived {
		t.received = append(t.received[:0], t.received[1:]...)
	}
	t.received = append(t.received, receivedRequest{id, n, data})
	n.setData(n.NetFn, data)
	return n, true
}

// traceCall traces the calls that make a request. Calls that respond to a request are shown when
// they have succeeded.
func (t *tracer) traceCall(n Notice, msg *dbus.Message) (Notice, bool) {
	n.Program = header[string](msg, dbus.FieldSender)
	read, data, ok := (*Notice).readResponse, []byte(nil), false
	switch header[string](msg, dbus.FieldInterface) + "." + header[string](msg, dbus.FieldMember) {
	case xml.BusInterface + ".sendRequest", xml.BusInterface + ".sendRequestWithOptions",
		xml.BusInterface + ".sendTracedRequest":
		if header[string](msg, dbus.FieldMember) == "sendTracedRequest" {
			read = (*Notice).readTraced
		}
		var responder uint8
		data, ok = n.readRequest(msg.Body[:min(5, len(msg.Body))], &responder)
		bus := t.busAt(msg)
		n.Bus, n.Node = bus.Name, cmp.Or(ipmi.Address(responder), bus.RemoteAddress)
	case xml.BusInterface + ".sendBroadcast":
		data, ok = n.readRequest(msg.Body)
		n.Bus, n.LUN = t.busAt(msg).Name, 0
		read = func(*Notice, []any) error { return nil }
	case xml.LegacyInterface + ".sendRequest":
		var index uint8
		data, ok = n.readRequest(msg.Body, &index)
		bus := t.findBus(func(b Bus) bool { return b.Index == index })
		n.Bus, n.Node, n.LUN = bus.Name, bus.RemoteAddress, 0 // The LUN is the requester's.
		read = (*Notice).readLegacy
	case xml.BusInterface + ".sendResponse":
		t.sendResponse(n, msg)
	case xml.ExecuteInterface + "." + xml.ExecuteMember:
		t.execute(n, msg)
	}
	if !ok {
		return n, false
	}
	t.awaitReply(msg, pendingCall{n, read, nil})
	n.setData(n.NetFn, data)
	return n, true
}

// sendResponse traces a program's response to a request that was received before.
func (t *tracer) sendResponse(n Notice, msg *dbus.Message) {
	var id uint64
	var code uint8
	var data []byte
	if dbus.Store(msg.Body, &id, &code, &data) != nil {
		return
	}
	bus := t.busAt(msg).Name
	for _, r := range t.received {
		if r.id == id && r.request.Bus == bus {
			r.request.Program = n.Program
			t.awaitReply(msg, pendingCall{request: r.request, read: func(n *Notice, _ []any) error {
				n.setResponse(code, data)
				return nil
			}})
			return
		}
	}
}

// execute traces ipmbd's calls to the host IPMI daemon. Only calls with a requester's address come
// from an IPMB. The signal that announces the request may come after the call, so execute looks
// the bus up when the reply comes.
func (t *tracer) execute(n Notice, msg *dbus.Message) {
	var options map[string]dbus.Variant
	data, ok := n.readRequest(msg.Body[:min(4, len(msg.Body))])
	if !ok || dbus.Store(msg.Body[4:], &options) != nil {
		return
	}
	requester, ok := options["rqSA"].Value().(int32)
	if !ok {
		return
	}
	n.Incoming, n.Node = true, ipmi.Address(requester<<1) // rqSA is a 7-bit address.
	n.Program = header[string](msg, dbus.FieldDestination)
	host := property[int32](options, "hostId")
	read := func(n *Notice, body []any) error { return n.readExecuted(body) }
	t.awaitReply(msg, pendingCall{n, read, func(n Notice) string { return t.busOfExecute(n, data, host) }})
}

// busOfExecute returns the bus of the host on which a request was received last or, if no signal
// announced the request, the only bus of the host.
func (t *tracer) busOfExecute(n Notice, data []byte, host int32) string {
	var ofHost []string
	for _, bus := range t.buses {
		if int32(bus.Index>>2) == host {
			ofHost = append(ofHost, bus.Name)
		}
	}
	for _, r := range slices.Backward(t.received) {
		same := r.request.Node == n.Node && r.request.NetFn == n.NetFn && r.request.LUN == n.LUN &&
			r.request.Command == n.Command && bytes.Equal(r.data, data)
		if same && slices.Contains(ofHost, r.request.Bus) {
			return r.request.Bus
		}
	}
	if len(ofHost) == 1 {
		return ofHost[0]
	}
	return ""
}

// awaitReply remembers a call until its reply.
func (t *tracer) awaitReply(msg *dbus.Message, call pendingCall) {
	if msg.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	if len(t.pending) >= maxPending {
		clear(t.pending)
	}
	t.pending[callKey{header[string](msg, dbus.FieldSender), msg.Serial()}] = call
}

// traceReply traces the reply that ends a call.
func (t *tracer) traceReply(n Notice, msg *dbus.Message) (Notice, bool) {
	key := callKey{header[string](msg, dbus.FieldDestination), header[uint32](msg, dbus.FieldReplySerial)}
	call, ok := t.pending[key]
	if !ok {
		return n, false
	}
	delete(t.pending, key)
	at := n.Time
	n = call.request
	n.Time, n.Took = at, at.Sub(n.Time)
	if call.locate != nil {
		n.Bus = call.locate(n)
	}
	if msg.Type == dbus.TypeError {
		name := header[string](msg, dbus.FieldErrorName)
		n.Kind, n.Reason = FailureSeen, dbus.Error{Name: name, Body: msg.Body}.Error()
	} else if err := call.read(&n, msg.Body); err != nil {
		n.Kind, n.Reason = FailureSeen, "reply of other types: "+err.Error()
	}
	return n, n.Kind != RequestSeen
}

// readRequest reads the arguments of a call or a signal: the arguments in before, then netFn, LUN,
// command and data.
func (n *Notice) readRequest(body []any, before ...any) (data []byte, ok bool) {
	var netFn, lun, command uint8
	ok = dbus.Store(body, append(before, &netFn, &lun, &command, &data)...) == nil
	n.NetFn, n.LUN, n.Command = ipmi.NetFn(netFn), ipmi.LUN(lun), ipmi.Command(command)
	return data, ok
}

// readResponse reads the reply to sendRequest.
func (n *Notice) readResponse(body []any) error {
	var code uint8
	var data []byte
	if err := dbus.Store(body, &code, &data); err != nil {
		return err
	}
	n.setResponse(code, data)
	return nil
}

// readTraced reads the reply to sendTracedRequest.
func (n *Notice) readTraced(body []any) error {
	var failure, text string
	var code uint8
	var data []byte
	if err := dbus.Store(body[:min(4, len(body))], &failure, &text, &code, &data); err != nil {
		return err
	}
	if failure != "" {
		n.Kind, n.Reason, n.Data = FailureSeen, cmp.Or(text, failure), nil
		return nil
	}
	n.setResponse(code, data)
	return nil
}

// readExecuted reads the reply of the host IPMI daemon: a struct of netFn, LUN, command,
// completion code and data.
func (n *Notice) readExecuted(body []any, before ...any) error {
	var netFn, lun, command, code uint8
	var data []byte
	var reply []any
	if len(body) == 1 {
		reply, _ = body[0].([]any)
	}
	if err := dbus.Store(reply, append(before, &netFn, &lun, &command, &code, &data)...); err != nil {
		return err
	}
	n.setResponse(code, data)
	return nil
}

// readLegacy reads the reply of org.openbmc.Ipmb, which has a status before the rest.
func (n *Notice) readLegacy(body []any) error {
	var value int32
	err := n.readExecuted(body, &value)
	if status := ipmb.Status(value); status != ipmb.StatusOK {
		n.Kind, n.Reason, n.Data = FailureSeen, fmt.Sprintf("status %d, %v", status, status), nil
	}
	return err
}

func (n *Notice) setResponse(code uint8, data []byte) {
	n.Kind, n.Code = ResponseSeen, ipmi.CompletionCode(code)
	n.setData(n.NetFn.Response(), data)
}

// setData sets the data, unless they are secret. netFn tells a request from a response.
func (n *Notice) setData(netFn ipmi.NetFn, data []byte) {
	if n.Secret = ipmi.CarriesSecret(netFn, n.Command, data); !n.Secret {
		n.Data = data
	}
}

// busAt returns the bus that has the object of a message. For an unknown bus it returns only the
// name.
func (t *tracer) busAt(msg *dbus.Message) Bus {
	path := header[dbus.ObjectPath](msg, dbus.FieldPath)
	b := t.findBus(func(b Bus) bool { return b.Path == path })
	b.Name = cmp.Or(b.Name, strings.TrimPrefix(string(path), xml.BasePath+"/"))
	return b
}

func (t *tracer) findBus(matches func(Bus) bool) Bus {
	if i := slices.IndexFunc(t.buses, matches); i >= 0 {
		return t.buses[i]
	}
	return Bus{}
}

// header returns a header field of a message, or the zero value if it is missing.
func header[T any](msg *dbus.Message, field dbus.HeaderField) T {
	value, _ := msg.Headers[field].Value().(T)
	return value
}
