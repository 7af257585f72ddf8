package client

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Bounds of what a tracer remembers.
const (
	maxPending  = 4096 // calls; when there are more all are forgotten
	maxReceived = 256  // requests from buses; the oldest is forgotten
)

// tracer makes events of the messages on the message bus. It does no I/O.
type tracer struct {
	buses    []Bus
	pending  map[callKey]pendingCall
	received []received // oldest first
}

// callKey is how a reply names its call.
type callKey struct {
	caller string
	serial uint32
}

// pendingCall is a call whose reply is still to come: the request it stands
// for, and how to read the reply.
type pendingCall struct {
	request Event
	read    func(body []any) (reply, error)
	// locate finds the bus of a request for which the call did not say it.
	locate func() string
}

// received is a request from a bus that may still be answered.
type received struct {
	id      uint64
	request Event
	data    []byte
}

func newTracer(buses []Bus) *tracer {
	return &tracer{buses: buses, pending: make(map[callKey]pendingCall)}
}

// busAt is the bus that is the object at a path. Of one that is not known only
// the name is, by the path.
func (t *tracer) busAt(msg *dbus.Message) Bus {
	path := header[dbus.ObjectPath](msg, dbus.FieldPath)
	for _, bus := range t.buses {
		if bus.Path == path {
			return bus
		}
	}
	name, _ := strings.CutPrefix(string(path), xml.BasePath+"/")
	return Bus{Properties: bus.Properties{Name: name}}
}

// busWith is the bus that org.openbmc.Ipmb reaches by an index.
func (t *tracer) busWith(index uint8) Bus {
	for _, bus := range t.buses {
		if bus.Index == index {
			return bus
		}
	}
	return Bus{}
}

// event is what a message shows, if it shows anything.
func (t *tracer) event(at time.Time, msg *dbus.Message) (Event, bool) {
	switch msg.Type {
	case dbus.TypeSignal:
		return t.signal(at, msg)
	case dbus.TypeMethodCall:
		return t.call(at, msg)
	case dbus.TypeMethodReply, dbus.TypeError:
		return t.reply(at, msg)
	}
	return Event{}, false
}

func (t *tracer) signal(at time.Time, msg *dbus.Message) (Event, bool) {
	if header[string](msg, dbus.FieldMember) == "NameOwnerChanged" {
		return serviceEvent(at, msg)
	}
	var id uint64
	var requester, netFn, lun, command uint8
	var data []byte
	if dbus.Store(msg.Body, &id, &requester, &netFn, &lun, &command, &data) != nil {
		return Event{}, false
	}
	event := Event{
		Time: at, Incoming: true,
		Bus:   t.busAt(msg).Name,
		Node:  ipmi.Address(requester),
		NetFn: ipmi.NetFn(netFn), LUN: ipmi.LUN(lun), Command: ipmi.Command(command),
	}
	if len(t.received) == maxReceived {
		t.received = append(t.received[:0], t.received[1:]...)
	}
	t.received = append(t.received, received{id: id, request: event, data: data})
	return event.withData(event.NetFn, data), true
}

func serviceEvent(at time.Time, msg *dbus.Message) (Event, bool) {
	var name, before, after string
	if dbus.Store(msg.Body, &name, &before, &after) != nil || name != xml.ServiceName {
		return Event{}, false
	}
	if after == "" {
		return Event{Time: at, Kind: ServiceStopped}, true
	}
	return Event{Time: at, Kind: ServiceStarted, Program: after}, true
}

// call is the request that a call makes. Calls that answer a request are
// remembered and shown when they have succeeded.
func (t *tracer) call(at time.Time, msg *dbus.Message) (Event, bool) {
	event := Event{Time: at, Program: header[string](msg, dbus.FieldSender)}
	switch iface, member := header[string](msg, dbus.FieldInterface), header[string](msg, dbus.FieldMember); {
	case iface == xml.BusInterface && (member == "sendRequest" || member == "sendRequestWithOptions"):
		return t.sendRequest(event, msg)
	case iface == xml.BusInterface && member == "sendBroadcast":
		return t.sendBroadcast(event, msg)
	case iface == xml.BusInterface && member == "sendResponse":
		t.sendResponse(event, msg)
	case iface == xml.LegacyInterface && member == "sendRequest":
		return t.channelRequest(event, msg)
	case iface == xml.ExecuteInterface && member == "execute":
		t.execute(event, msg)
	}
	return Event{}, false
}

func (t *tracer) sendRequest(event Event, msg *dbus.Message) (Event, bool) {
	var responder, netFn, lun, command uint8
	var data []byte
	if len(msg.Body) < 5 || dbus.Store(msg.Body[:5], &responder, &netFn, &lun, &command, &data) != nil {
		return Event{}, false
	}
	bus := t.busAt(msg)
	event.Bus, event.Node = bus.Name, ipmi.Address(responder)
	if responder == 0 {
		event.Node = bus.RemoteAddress
	}
	event.NetFn, event.LUN, event.Command = ipmi.NetFn(netFn), ipmi.LUN(lun), ipmi.Command(command)
	t.await(msg, event, readAnswer)
	return event.withData(event.NetFn, data), true
}

func (t *tracer) sendBroadcast(event Event, msg *dbus.Message) (Event, bool) {
	var netFn, lun, command uint8
	var data []byte
	if dbus.Store(msg.Body, &netFn, &lun, &command, &data) != nil {
		return Event{}, false
	}
	event.Bus = t.busAt(msg).Name
	event.NetFn, event.Command = ipmi.NetFn(netFn), ipmi.Command(command)
	t.await(msg, event, readNothing)
	return event.withData(event.NetFn, data), true
}

// channelRequest is sendRequest of org.openbmc.Ipmb; its lun is the requester's.
func (t *tracer) channelRequest(event Event, msg *dbus.Message) (Event, bool) {
	var channel, netFn, lun, command uint8
	var data []byte
	if dbus.Store(msg.Body, &channel, &netFn, &lun, &command, &data) != nil {
		return Event{}, false
	}
	bus := t.busWith(channel)
	event.Bus, event.Node = bus.Name, bus.RemoteAddress
	event.NetFn, event.Command = ipmi.NetFn(netFn), ipmi.Command(command)
	t.await(msg, event, readStatus)
	return event.withData(event.NetFn, data), true
}

func (t *tracer) sendResponse(event Event, msg *dbus.Message) {
	var id uint64
	var answer reply
	var code uint8
	if dbus.Store(msg.Body, &id, &code, &answer.data) != nil {
		return
	}
	answer.isAnswer, answer.code = true, ipmi.CompletionCode(code)
	bus := t.busAt(msg).Name
	for _, r := range t.received {
		if r.id == id && r.request.Bus == bus {
			r.request.Program = event.Program
			t.await(msg, r.request, func([]any) (reply, error) { return answer, nil })
			return
		}
	}
}

// execute is the host IPMI daemon's method. Of its callers those with a
// requester's address speak for an IPMB.
func (t *tracer) execute(event Event, msg *dbus.Message) {
	var netFn, lun, command uint8
	var data []byte
	var options map[string]dbus.Variant
	if dbus.Store(msg.Body, &netFn, &lun, &command, &data, &options) != nil {
		return
	}
	requester, ok := options["rqSA"].Value().(int32)
	if !ok {
		return
	}
	event = Event{
		Time: event.Time, Incoming: true,
		Node:  ipmi.Address(requester << 1), // rqSA is in its 7-bit form
		NetFn: ipmi.NetFn(netFn), LUN: ipmi.LUN(lun), Command: ipmi.Command(command),
		Program: header[string](msg, dbus.FieldDestination),
	}
	host := propertyOf[int32](options, "hostId")
	t.awaitAt(msg, event, readExecute, func() string { return t.busOfExecute(event, data, host) })
}

// busOfExecute finds the bus that a request to the host daemon came from: the
// one of its host that received it last or, for a request that no signal told
// of, the only one.
func (t *tracer) busOfExecute(event Event, data []byte, host int32) string {
	var ofHost []string
	for _, bus := range t.buses {
		if int32(bus.Index>>2) == host {
			ofHost = append(ofHost, bus.Name)
		}
	}
	for _, r := range slices.Backward(t.received) {
		same := r.request.Node == event.Node && r.request.NetFn == event.NetFn && r.request.LUN == event.LUN &&
			r.request.Command == event.Command && bytes.Equal(r.data, data)
		if same && slices.Contains(ofHost, r.request.Bus) {
			return r.request.Bus
		}
	}
	if len(ofHost) == 1 {
		return ofHost[0]
	}
	return ""
}

// await remembers a call until its reply.
func (t *tracer) await(msg *dbus.Message, request Event, read func([]any) (reply, error)) {
	t.awaitAt(msg, request, read, func() string { return request.Bus })
}

func (t *tracer) awaitAt(msg *dbus.Message, request Event, read func([]any) (reply, error), locate func() string) {
	if msg.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	if len(t.pending) >= maxPending {
		clear(t.pending)
	}
	t.pending[callKey{header[string](msg, dbus.FieldSender), msg.Serial()}] = pendingCall{request, read, locate}
}

// reply is the answer or the failure that ends a call.
func (t *tracer) reply(at time.Time, msg *dbus.Message) (Event, bool) {
	key := callKey{header[string](msg, dbus.FieldDestination), header[uint32](msg, dbus.FieldReplySerial)}
	call, ok := t.pending[key]
	if !ok {
		return Event{}, false
	}
	delete(t.pending, key)
	event := call.request
	event.Bus = call.locate()
	event.Took = at.Sub(event.Time)
	event.Time = at
	if msg.Type == dbus.TypeError {
		event.Kind, event.Reason = FailureSeen, errorText(msg)
		return event, true
	}
	r, err := call.read(msg.Body)
	switch {
	case err != nil:
		event.Kind, event.Reason = FailureSeen, "reply of other types: "+err.Error()
	case r.failure != "":
		event.Kind, event.Reason = FailureSeen, r.failure
	case r.isAnswer:
		event.Kind, event.Code = AnswerSeen, r.code
		event = event.withData(event.NetFn.Response(), r.data)
	default:
		return Event{}, false
	}
	return event, true
}

// header is a field of a message's header, zero when it is not there.
func header[T any](msg *dbus.Message, field dbus.HeaderField) T {
	value, _ := msg.Headers[field].Value().(T)
	return value
}
