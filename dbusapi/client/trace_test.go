package client

import (
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// message makes a message of a type with these headers.
func message(kind dbus.Type, headers map[dbus.HeaderField]any, body ...any) *dbus.Message {
	msg := &dbus.Message{Type: kind, Headers: make(map[dbus.HeaderField]dbus.Variant), Body: body}
	for field, value := range headers {
		msg.Headers[field] = dbus.MakeVariant(value)
	}
	return msg
}

// receivedOn is the signal for a Get Device ID request from 2Ch.
func receivedOn(path dbus.ObjectPath, id uint64, data ...byte) *dbus.Message {
	return message(dbus.TypeSignal, map[dbus.HeaderField]any{
		dbus.FieldPath: path, dbus.FieldInterface: xml.BusInterface, dbus.FieldMember: "ReceivedMessage",
	}, id, byte(0x2C), byte(6), byte(0), byte(1), data)
}

// executeFor is the host daemon's call for the same request.
func executeFor(host int32, data ...byte) *dbus.Message {
	options := map[string]dbus.Variant{"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(host)}
	return message(dbus.TypeMethodCall, map[dbus.HeaderField]any{
		dbus.FieldSender: ":1.1", dbus.FieldInterface: xml.ExecuteInterface, dbus.FieldMember: xml.ExecuteMember,
	}, byte(6), byte(0), byte(1), data, options)
}

// executeReplied is the reply to it.
func executeReplied() *dbus.Message {
	return message(dbus.TypeMethodReply, map[dbus.HeaderField]any{
		dbus.FieldDestination: ":1.1", dbus.FieldReplySerial: uint32(0),
	}, []any{byte(7), byte(0), byte(1), byte(0), []byte{}})
}

// twoHosts are the buses of two hosts: host 0 has two.
func twoHosts() []Bus {
	bus := func(name string, index uint8) Bus {
		return Bus{Path: xml.BasePath + "/" + dbus.ObjectPath(name),
			Properties: bus.Properties{Name: name, Index: index, RemoteAddress: 0x2C}}
	}
	return []Bus{bus("ipmb0", 0), bus("me0", 1), bus("ipmb1", 4)}
}

func TestTraceFindsTheBusOfWhatTheHostDaemonAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		messages []*dbus.Message
		want     string
	}{
		"only bus of its host": {
			[]*dbus.Message{executeFor(1), executeReplied()}, "ipmb1"},
		"received before": {
			[]*dbus.Message{receivedOn(xml.BasePath+"/me0", 1, 5), executeFor(0, 5), executeReplied()}, "me0"},
		"signal after the call": {
			[]*dbus.Message{executeFor(0, 5), receivedOn(xml.BasePath+"/me0", 1, 5), executeReplied()}, "me0"},
		"the same request of another host": {
			[]*dbus.Message{receivedOn(xml.BasePath+"/me0", 1, 5), receivedOn(xml.BasePath+"/ipmb1", 2, 5), executeFor(0, 5), executeReplied()}, "me0"},
		"the last to receive it": {
			[]*dbus.Message{receivedOn(xml.BasePath+"/me0", 1, 5), receivedOn(xml.BasePath+"/ipmb0", 2, 5), executeFor(0, 5), executeReplied()}, "ipmb0"},
		"other data": {
			[]*dbus.Message{receivedOn(xml.BasePath+"/me0", 1, 4), executeFor(0, 5), executeReplied()}, ""},
		"unknown host": {
			[]*dbus.Message{executeFor(7), executeReplied()}, ""},
	} {
		tracer := newTracer(twoHosts())
		var last Notice
		for _, msg := range tt.messages {
			last, _ = tracer.trace(time.Unix(0, 0), msg)
		}
		if last.Kind != ResponseSeen || last.Bus != tt.want {
			t.Errorf("%s: %+v", name, last)
		}
	}
}

func TestTraceLeavesOutOtherChannelsOfTheHostDaemon(t *testing.T) {
	tracer := newTracer(twoHosts())
	kcs := executeFor(0)
	kcs.Body[4] = map[string]dbus.Variant{}
	for _, msg := range []*dbus.Message{kcs, executeReplied()} {
		if notice, ok := tracer.trace(time.Unix(0, 0), msg); ok {
			t.Errorf("notice %+v", notice)
		}
	}
}

func TestTraceTellsHowLongAnAnswerTook(t *testing.T) {
	tracer := newTracer(twoHosts())
	begin := time.Unix(1000, 0)
	tracer.trace(begin, executeFor(1))
	got, _ := tracer.trace(begin.Add(3*time.Millisecond), executeReplied())
	if got.Took != 3*time.Millisecond || !got.Time.Equal(begin.Add(got.Took)) {
		t.Errorf("%+v", got)
	}
}

func TestTraceKnowsABusItWasNotToldOf(t *testing.T) {
	got, ok := newTracer(nil).trace(time.Unix(0, 0), receivedOn(xml.BasePath+"/bus7", 1, 9))
	want := Notice{Time: time.Unix(0, 0), Incoming: true, Bus: "bus7", Node: 0x2C, NetFn: 6, Command: 1, Data: []byte{9}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Error(diff)
	}
}

// Nothing that passes on a message bus may stop a monitor.
func TestTraceOfMalformedMessages(t *testing.T) {
	members := []string{"sendRequest", "sendRequestWithOptions", "sendTracedRequest", "sendBroadcast", "sendResponse", "ReceivedMessage", "NameOwnerChanged", xml.ExecuteMember, ""}
	bodies := [][]any{nil, {}, {"text"}, {byte(1)}, {byte(1), byte(2), byte(3), byte(4)}, {uint64(1), "x", []byte{}},
		{byte(6), byte(0), byte(1), []byte{}, "no options"}, {xml.ServiceName, ""}, {[]any{}}}
	for _, kind := range []dbus.Type{0, dbus.TypeMethodCall, dbus.TypeMethodReply, dbus.TypeError, dbus.TypeSignal, 77} {
		for _, iface := range []string{xml.BusInterface, xml.LegacyInterface, xml.ExecuteInterface, ""} {
			for _, member := range members {
				for _, body := range bodies {
					tracer := newTracer(nil)
					headers := map[dbus.HeaderField]any{dbus.FieldInterface: iface, dbus.FieldMember: member}
					if notice, ok := tracer.trace(time.Unix(0, 0), message(kind, headers, body...)); ok {
						t.Errorf("type %d, %s.%s, %v: notice %+v", kind, iface, member, body, notice)
					}
				}
			}
		}
	}
}

func TestTraceOfAReplyOfOtherTypes(t *testing.T) {
	tracer := newTracer(twoHosts())
	tracer.trace(time.Unix(0, 0), executeFor(1))
	reply := executeReplied()
	reply.Body = []any{"text"}
	if got, _ := tracer.trace(time.Unix(0, 0), reply); got.Kind != FailureSeen || got.Reason == "" {
		t.Errorf("%+v", got)
	}
}

func TestTraceRemembersABoundedNumber(t *testing.T) {
	tracer := newTracer(twoHosts())
	for id := range uint64(2 * maxReceived) {
		tracer.trace(time.Unix(0, 0), receivedOn(xml.BasePath+"/me0", id))
	}
	if n := len(tracer.received); n != maxReceived || tracer.received[n-1].id != 2*maxReceived-1 {
		t.Errorf("%d received", n)
	}
	for serial := range uint32(2 * maxPending) {
		tracer.pending[callKey{":1.1", serial}] = pendingCall{}
		tracer.trace(time.Unix(0, 0), executeFor(1))
	}
	if n := len(tracer.pending); n > maxPending+1 {
		t.Errorf("%d pending", n)
	}
}

func TestSecretsInAnswersAreKept(t *testing.T) {
	for _, command := range []ipmi.Command{0x47, 0x3F} {
		got := Notice{Command: command}
		got.setData(ipmi.NetFnApp.Response(), []byte{1, 2})
		if !got.Secret || slices.Contains(got.Data, 1) {
			t.Errorf("%+v", got)
		}
	}
}
