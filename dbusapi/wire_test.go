package dbusapi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var byteOrders = map[string]binary.ByteOrder{"little endian": binary.LittleEndian, "big endian": binary.BigEndian}

// encode makes the library encode a message with serial 77.
func encode(t testing.TB, order binary.ByteOrder, msg *dbus.Message) []byte {
	t.Helper()
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	order.PutUint32(b.Bytes()[8:], 77)
	return b.Bytes()
}

// encodeCall is a call of org.openbmc.Ipmb.sendRequest.
func encodeCall(t testing.TB, order binary.ByteOrder, sender string, args ...any) []byte {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(BasePath),
			dbus.FieldInterface:   dbus.MakeVariant(legacyInterface),
			dbus.FieldMember:      dbus.MakeVariant("sendRequest"),
			dbus.FieldDestination: dbus.MakeVariant(ServiceName),
		},
		Body: args,
	}
	if sender != "" {
		msg.Headers[dbus.FieldSender] = dbus.MakeVariant(sender)
	}
	return encode(t, order, msg)
}

// encodeReturn is the reply of :1.7 to a call.
func encodeReturn(t testing.TB, order binary.ByteOrder, replySerial uint32, results ...any) []byte {
	t.Helper()
	return encode(t, order, &dbus.Message{
		Type: dbus.TypeMethodReply,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(replySerial),
			dbus.FieldDestination: dbus.MakeVariant(":1.5"),
			dbus.FieldSender:      dbus.MakeVariant(":1.7"),
		},
		Body: results,
	})
}

// encodeError is the reply of :1.7 to a call, an error.
func encodeError(t testing.TB, order binary.ByteOrder, replySerial uint32, name string, args ...any) []byte {
	t.Helper()
	return encode(t, order, &dbus.Message{
		Type: dbus.TypeError,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldErrorName:   dbus.MakeVariant(name),
			dbus.FieldReplySerial: dbus.MakeVariant(replySerial),
			dbus.FieldSender:      dbus.MakeVariant(":1.7"),
		},
		Body: args,
	})
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
	if length, ok := wireLength(b); !ok || length != len(b) {
		t.Errorf("length %d of %d bytes", length, len(b))
	}
	return msg
}

func TestCallsAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range byteOrders {
		for length := range 20 {
			sender := ":1." + strings.Repeat("9", length+1)
			data := bytes.Repeat([]byte{0xEE}, length)
			b := encodeCall(t, order, sender, byte(1), byte(6), byte(2), byte(0x25), data)
			m, ok := parseMessage(b)
			if !ok || m.kind != wireCall || m.serial != 77 || string(m.sender) != sender || string(m.path) != string(BasePath) ||
				string(m.iface) != legacyInterface || string(m.member) != "sendRequest" || string(m.signature) != requestSignature {
				t.Fatalf("%s: %+v, %v", name, m, ok)
			}
			args, rest, ok := parseArgs(&m)
			if !ok || len(rest) > 0 || args.to != 1 || args.netFn != 6 || args.lun != 2 || args.cmd != 0x25 || !bytes.Equal(args.data, data) {
				t.Fatalf("%s: %+v, %v", name, args, ok)
			}
		}
	}
}

func TestRepliesAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range byteOrders {
		for length := range 20 {
			data := bytes.Repeat([]byte{0xEE}, length)
			m, ok := parseMessage(encodeReturn(t, order, 99, hostResult{7, 1, 2, 0xC1, data}))
			if !ok || m.kind != wireReturn || m.replySerial != 99 || string(m.sender) != ":1.7" {
				t.Fatalf("%s: %+v, %v", name, m, ok)
			}
			if x := parseExecuted(&m); x.err != nil || x.netFn != 7 || x.command != 2 ||
				x.response.Code != 0xC1 || !bytes.Equal(x.response.Data, data) {
				t.Fatalf("%s: %+v", name, x)
			}
			text := strings.Repeat("x", length)
			m, ok = parseMessage(encodeError(t, order, 99, "a.b.C", text))
			if !ok || m.kind != wireError || m.replySerial != 99 || string(m.errorName) != "a.b.C" || m.errorText() != text {
				t.Fatalf("%s: %+v, %v", name, m, ok)
			}
		}
	}
}

func TestMessageThatIsCutOffHasNoBody(t *testing.T) {
	b := encodeCall(t, binary.LittleEndian, ":1.5", byte(1), byte(6), byte(2), byte(0x25), []byte{1, 2, 3})
	for length := range b {
		m, ok := parseMessage(b[:length])
		if ok != (length >= wireBody(b)) || m.body != nil {
			t.Errorf("%d of %d bytes: %+v, %v", length, len(b), m, ok)
		}
	}
	if _, ok := parseMessage(append(b, 0)); ok {
		t.Error("more than a message is one")
	}
}

func TestHeaderFieldOfAnotherTypeIsLeftToTheLibrary(t *testing.T) {
	good := encodeCall(t, binary.LittleEndian, ":1.5")
	for name, field := range map[string]struct{ is, becomes string }{
		"path is a string":       {"\x01\x01o\x00", "\x01\x01s\x00"},
		"member is a path":       {"\x03\x01s\x00", "\x03\x01o\x00"},
		"sender is a number":     {"\x07\x01s\x00", "\x07\x01u\x00"},
		"signature is two types": {"\x03\x01s\x00", "\x03\x02su"},
		"unknown field":          {"\x03\x01s\x00", "\x0A\x01s\x00"},
		"field 0":                {"\x03\x01s\x00", "\x00\x01s\x00"},
		"field 0 of no type":     {"\x03\x01s\x00", "\x00\x01\x00\x00"},
	} {
		b := bytes.Replace(good, []byte(field.is), []byte(field.becomes), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if m, ok := parseMessage(b); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// headerOf is the fields of a message as the library has them.
func headerOf(msg *dbus.Message) wireHeader {
	text := func(f dbus.HeaderField) string { s, _ := msg.Headers[f].Value().(string); return s }
	replySerial, _ := msg.Headers[dbus.FieldReplySerial].Value().(uint32)
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	return wireHeader{
		kind:        byte(msg.Type),
		flags:       byte(msg.Flags),
		serial:      msg.Serial(),
		replySerial: replySerial,
		path:        string(path),
		iface:       text(dbus.FieldInterface),
		member:      text(dbus.FieldMember),
		destination: text(dbus.FieldDestination),
		signature:   signature.String(),
	}
}

func TestHeadersAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		name := "a.b" + strings.Repeat("c", length)
		for _, h := range []wireHeader{
			{kind: wireCall, flags: wireNoAutoStart, serial: 5, path: "/a", iface: name, member: "D", destination: name, signature: "u"},
			{kind: wireReturn, flags: wireNoReply, serial: 5, replySerial: 77, destination: name, signature: "u"},
			{kind: wireSignal, flags: wireNoReply, serial: 5, path: "/a", iface: name, member: "D", signature: "u"},
		} {
			msg := decode(t, finish(appendUint32(h.marshal(4), 42)))
			if diff := cmp.Diff(h, headerOf(msg), cmp.AllowUnexported(wireHeader{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]any{uint32(42)}, msg.Body); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, order := range byteOrders {
		f.Add(encodeCall(f, order, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{1, 2, 3}))
		f.Add(encodeCall(f, order, ":1.5", byte(0x2C), byte(6), byte(0), byte(1), []byte{1, 2, 3},
			map[string]dbus.Variant{"tries": dbus.MakeVariant(uint32(3)), "fail-fast": dbus.MakeVariant(true), "requester-lun": dbus.MakeVariant(byte(2))}))
		f.Add(encodeCall(f, order, ":1.5", byte(6), byte(0), byte(1), []byte{1, 2, 3}))
		f.Add(encodeCall(f, order, "", "text", map[string]dbus.Variant{"a": dbus.MakeVariant(1)}))
		f.Add(encodeReturn(f, order, 99, hostResult{7, 0, 1, 0, []byte{1, 2, 3}}))
		f.Add(encodeReturn(f, order, 99, byte(7), byte(0), byte(1), byte(0), []byte{}))
		f.Add(encodeError(f, order, 99, "org.freedesktop.DBus.Error.NoReply", "text", byte(1)))
		f.Add(encodeError(f, order, 99, "org.freedesktop.DBus.Error.NoReply"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseMessage(b)
		if !ok {
			return
		}
		args, rest, isRequest := parseArgs(&m)
		var withOptions, broadcast busCall
		optionsErr, broadcastErr := parseRequestWithOptions(&withOptions, &m), parseBroadcast(&broadcast, &m)
		result := parseExecuted(&m)
		// What the library reads as well must read the same.
		msg, err := dbus.DecodeMessage(bytes.NewReader(b))
		if err != nil || m.body == nil {
			return
		}
		sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
		errorName, _ := msg.Headers[dbus.FieldErrorName].Value().(string)
		want := headerOf(msg)
		if m.kind != want.kind || m.serial != want.serial || m.replySerial != want.replySerial ||
			string(m.path) != want.path || string(m.iface) != want.iface || string(m.member) != want.member ||
			string(m.signature) != want.signature || string(m.sender) != sender || string(m.errorName) != errorName {
			t.Errorf("%+v is not %+v", m, msg)
		}
		switch {
		case m.kind == wireError:
			if text, ok := first(msg.Body).(string); ok && text != m.errorText() {
				t.Errorf("%q is not %q", m.errorText(), text)
			}
		case string(m.signature) == requestSignature && isRequest && len(rest) == 0:
			want := []any{args.to, args.netFn, args.lun, args.cmd, args.data}
			if diff := cmp.Diff(want, msg.Body); diff != "" {
				t.Error(diff)
			}
		case string(m.signature) == optionsSignature && optionsErr == nil:
			if diff := cmp.Diff(libraryRequest(t, msg.Body), withOptions.request); diff != "" {
				t.Error(diff)
			}
		case string(m.signature) == broadcastSignature && broadcastErr == nil:
			req := broadcast.request
			want := []any{byte(req.NetFn), byte(req.RequesterLUN), byte(req.Command), req.Data}
			if diff := cmp.Diff(want, msg.Body); diff != "" {
				t.Error(diff)
			}
		case result.err == nil:
			fields := msg.Body[0].([]any)
			want := []any{byte(result.netFn), fields[1], byte(result.command), byte(result.response.Code), result.response.Data}
			if diff := cmp.Diff(want, fields); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// libraryRequest is the request of sendRequestWithOptions, from the arguments as the
// library has them. Of an option that is there twice the library has the last, as we.
func libraryRequest(t *testing.T, args []any) ipmb.Request {
	req := ipmb.Request{
		Responder: ipmi.Address(args[0].(byte)),
		NetFn:     ipmi.NetFn(args[1].(byte)),
		LUN:       ipmi.LUN(args[2].(byte)),
		Command:   ipmi.Command(args[3].(byte)),
		Data:      args[4].([]byte),
	}
	for name, value := range args[5].(map[string]dbus.Variant) {
		if err := options()[name].set(&req, value.Value()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return req
}
