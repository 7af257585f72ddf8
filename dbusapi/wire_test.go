package dbusapi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// encodeCall is a call of org.openbmc.Ipmb.sendRequest.
func encodeCall(t testing.TB, order binary.ByteOrder, sender string, args ...any) []byte {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(BasePath),
			dbus.FieldInterface:   dbus.MakeVariant(xml.LegacyInterface),
			dbus.FieldMember:      dbus.MakeVariant("sendRequest"),
			dbus.FieldDestination: dbus.MakeVariant(xml.ServiceName),
		},
		Body: args,
	}
	if sender != "" {
		msg.Headers[dbus.FieldSender] = dbus.MakeVariant(sender)
	}
	return bustest.Encode(t, order, msg)
}

// encodeReturn is the reply of :1.7 to a call.
func encodeReturn(t testing.TB, order binary.ByteOrder, replySerial uint32, results ...any) []byte {
	t.Helper()
	return bustest.Encode(t, order, &dbus.Message{
		Type: dbus.TypeMethodReply,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(replySerial),
			dbus.FieldDestination: dbus.MakeVariant(":1.5"),
			dbus.FieldSender:      dbus.MakeVariant(":1.7"),
		},
		Body: results,
	})
}

// parseMessage parses a message that is whole.
func parseMessage(t testing.TB, b []byte) *dbuswire.Message {
	t.Helper()
	m, ok := dbuswire.Parse(b)
	if !ok || m.Body == nil {
		t.Fatalf("%+v, %v", m, ok)
	}
	return &m
}

// decode makes the library decode a message of ours.
func decode(t testing.TB, b []byte) *dbus.Message {
	t.Helper()
	msg, err := dbus.DecodeMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.IsValid(); err != nil {
		t.Error(err)
	}
	return msg
}

// headerOf is the fields of a message as the library has them.
func headerOf(msg *dbus.Message) dbuswire.Header {
	text := func(f dbus.HeaderField) string { s, _ := msg.Headers[f].Value().(string); return s }
	replySerial, _ := msg.Headers[dbus.FieldReplySerial].Value().(uint32)
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	return dbuswire.Header{
		Type:        byte(msg.Type),
		Flags:       byte(msg.Flags),
		Serial:      msg.Serial(),
		ReplySerial: replySerial,
		Path:        string(path),
		Interface:   text(dbus.FieldInterface),
		Member:      text(dbus.FieldMember),
		Destination: text(dbus.FieldDestination),
		Signature:   signature.String(),
	}
}

// fakeConn keeps the calls of execute that are made, to which the test replies.
type fakeConn struct {
	mu     sync.Mutex
	serial uint32
	calls  map[dbuswire.Call]bool
	err    error // of further calls
}

func newFakeConn() *fakeConn { return &fakeConn{calls: make(map[dbuswire.Call]bool)} }

func (c *fakeConn) NewSerial() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	return c.serial
}

func (c *fakeConn) StartCall(_ uint32, _ []byte, call dbuswire.Call, _ dbuswire.Place) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.calls[call] = true
	}
	return c.err
}

// reply replies to a call, and reports whether it was made.
func (c *fakeConn) reply(call dbuswire.Call, sender string, body ...byte) bool {
	c.mu.Lock()
	made := c.calls[call]
	delete(c.calls, call)
	c.mu.Unlock()
	if made {
		call.Replied(&dbuswire.Message{Type: dbuswire.TypeReturn, Signature: []byte(xml.ExecuteOut), Sender: []byte(sender), Body: body})
	}
	return made
}

func TestRequestsAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range bustest.ByteOrders {
		for length := range 20 {
			data := bytes.Repeat([]byte{0xEE}, length)
			m := parseMessage(t, encodeCall(t, order, ":1."+strings.Repeat("9", length+1), byte(0x2C), byte(6), byte(2), byte(0x25), data))
			var x busCall
			if err := parseRequest(&x, m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(ipmb.Request{Responder: 0x2C, NetFn: 6, LUN: 2, Command: 0x25, Data: data}, x.request); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestRepliesAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range bustest.ByteOrders {
		for length := range 20 {
			data := bytes.Repeat([]byte{0xEE}, length)
			netFn, cmd, res, err := parseExecuted(parseMessage(t, encodeReturn(t, order, 99, hostResult{7, 1, 2, 0xC1, data})))
			if err != nil || netFn != 7 || cmd != 2 || res.Code != 0xC1 || !bytes.Equal(res.Data, data) {
				t.Fatalf("%s: %v, %v, %v, %v", name, netFn, cmd, res, err)
			}
		}
	}
}

func FuzzArguments(f *testing.F) {
	for _, order := range bustest.ByteOrders {
		f.Add(encodeCall(f, order, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{1, 2, 3}))
		f.Add(encodeCall(f, order, ":1.5", byte(0x2C), byte(6), byte(0), byte(1), []byte{1, 2, 3},
			map[string]dbus.Variant{"tries": dbus.MakeVariant(uint32(3)), "fail-fast": dbus.MakeVariant(true), "requester-lun": dbus.MakeVariant(byte(2))}))
		f.Add(encodeCall(f, order, ":1.5", byte(6), byte(0), byte(1), []byte{1, 2, 3}))
		f.Add(encodeReturn(f, order, 99, hostResult{7, 0, 1, 0, []byte{1, 2, 3}}))
		f.Add(encodeReturn(f, order, 99, byte(7), byte(0), byte(1), byte(0), []byte{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := dbuswire.Parse(b)
		if !ok {
			return
		}
		var request, broadcast busCall
		requestErr, broadcastErr := parseRequest(&request, &m), parseBroadcast(&broadcast, &m)
		netFn, cmd, res, executedErr := parseExecuted(&m)
		// What the library reads as well must read the same.
		msg, err := dbus.DecodeMessage(bytes.NewReader(b))
		if err != nil || m.Body == nil {
			return
		}
		switch {
		case m.Type == dbuswire.TypeError:
		case string(m.Signature) == requestSignature && requestErr == nil:
			r := request.request
			want := []any{byte(r.Responder), byte(r.NetFn), byte(r.LUN), byte(r.Command), r.Data}
			if diff := cmp.Diff(want, msg.Body); diff != "" {
				t.Error(diff)
			}
		case string(m.Signature) == optionsSignature && requestErr == nil:
			if diff := cmp.Diff(libraryRequest(t, msg.Body), request.request); diff != "" {
				t.Error(diff)
			}
		case string(m.Signature) == broadcastSignature && broadcastErr == nil:
			req := broadcast.request
			want := []any{byte(req.NetFn), byte(req.RequesterLUN), byte(req.Command), req.Data}
			if diff := cmp.Diff(want, msg.Body); diff != "" {
				t.Error(diff)
			}
		case executedErr == nil:
			fields := msg.Body[0].([]any)
			want := []any{byte(netFn), fields[1], byte(cmd), byte(res.Code), res.Data}
			if diff := cmp.Diff(want, fields); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// libraryRequest is the request of sendRequestWithOptions, from the arguments as the library reads
// them. If an option is there twice, the library has the last one, as we do.
func libraryRequest(t *testing.T, args []any) ipmb.Request {
	req := ipmb.Request{
		Responder: ipmi.Address(args[0].(byte)),
		NetFn:     ipmi.NetFn(args[1].(byte)),
		LUN:       ipmi.LUN(args[2].(byte)),
		Command:   ipmi.Command(args[3].(byte)),
		Data:      args[4].([]byte),
	}
	for name, value := range args[5].(map[string]dbus.Variant) {
		switch v := value.Value(); name {
		case "timeout-ms":
			req.RetryPolicy.Timeout = time.Duration(v.(uint32)) * time.Millisecond
		case "tries":
			req.RetryPolicy.Tries = int(v.(uint32))
		case "requester-lun":
			req.RequesterLUN = ipmi.LUN(v.(byte))
		case "fail-fast":
			req.FailFast = v.(bool)
		case "broadcast":
			req.GeneralCall = v.(bool)
		}
	}
	return req
}
