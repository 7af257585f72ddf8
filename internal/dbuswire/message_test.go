package dbuswire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"ipmbd/internal/bustest"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// encodeCall is a call of a.b.C.D.
func encodeCall(t testing.TB, order binary.ByteOrder, sender string, args ...any) []byte {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/a/b")),
			dbus.FieldInterface:   dbus.MakeVariant("a.b.C"),
			dbus.FieldMember:      dbus.MakeVariant("D"),
			dbus.FieldDestination: dbus.MakeVariant("a.b"),
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

// encodeError is the reply of :1.7 to a call, an error.
func encodeError(t testing.TB, order binary.ByteOrder, replySerial uint32, name string, args ...any) []byte {
	t.Helper()
	return bustest.Encode(t, order, &dbus.Message{
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
	if length, ok := messageLength(b); !ok || length != len(b) {
		t.Errorf("length %d of %d bytes", length, len(b))
	}
	return msg
}

func TestCallsAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range bustest.ByteOrders {
		for length := range 20 {
			sender := ":1." + strings.Repeat("9", length+1)
			data := bytes.Repeat([]byte{0xEE}, length)
			b := encodeCall(t, order, sender, byte(1), data, uint32(7), "text")
			m, ok := Parse(b)
			if !ok || m.Type != TypeCall || m.Serial != 77 || string(m.Sender) != sender || string(m.Path) != "/a/b" ||
				string(m.Interface) != "a.b.C" || string(m.Member) != "D" || string(m.Signature) != "yayus" {
				t.Fatalf("%s: %+v, %v", name, m, ok)
			}
			args := m.Arguments()
			if n := args.Byte(); n != 1 {
				t.Errorf("%s: byte %d", name, n)
			}
			if got := args.Bytes(); !bytes.Equal(got, data) {
				t.Errorf("%s: bytes % X", name, got)
			}
			if n := args.Uint32(); n != 7 {
				t.Errorf("%s: number %d", name, n)
			}
			if text := args.String(); string(text) != "text" || !args.AtEnd() {
				t.Errorf("%s: text %q, at the end %v", name, text, args.AtEnd())
			}
			if args.Byte(); args.OK() || args.AtEnd() {
				t.Errorf("%s: there is more than all", name)
			}
		}
	}
}

func TestErrorsAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range bustest.ByteOrders {
		for length := range 20 {
			text := strings.Repeat("x", length)
			m, ok := Parse(encodeError(t, order, 99, "a.b.C", text))
			if !ok || m.Type != TypeError || m.ReplySerial != 99 || string(m.ErrorName) != "a.b.C" || m.ErrorText() != text {
				t.Fatalf("%s: %+v, %v", name, m, ok)
			}
		}
	}
}

// Dictionaries have values of all types that are known, and of others.
func TestDictionariesAreReadAsTheLibraryWroteThem(t *testing.T) {
	known := map[string]any{
		"y": byte(0x91), "n": int16(-2), "q": uint16(3), "b": true, "i": int32(-5), "u": uint32(6), "x": int64(-7), "t": uint64(8), "d": 0.5,
		"s": "text", "o": dbus.ObjectPath("/a"), "g": dbus.SignatureOf(byte(1)), "ay": []byte{1, 2, 3}, "au": []uint32{1, 2, 3},
	}
	for name, order := range bustest.ByteOrders {
		var all []string
		values := map[string]dbus.Variant{}
		for signature, value := range known {
			values[signature] = dbus.MakeVariant(value)
			all = append(all, signature)
		}
		for _, before := range []any{byte(1), uint32(1), uint64(1)} {
			m, _ := Parse(encodeCall(t, order, "", before, values))
			args := m.Arguments()
			args.Skip(dbus.SignatureOf(before).String())
			var got []string
			err := args.Dictionary(func(key, signature string) error {
				if key != signature {
					t.Errorf("%s: %q is of type %q", name, key, signature)
				}
				got = append(got, key)
				args.Skip(signature)
				return nil
			})
			slices.Sort(all)
			slices.Sort(got)
			if diff := cmp.Diff(all, got); err != nil || !args.AtEnd() || diff != "" {
				t.Errorf("%s: %v %s", name, err, diff)
			}
		}
		values["other"] = dbus.MakeVariant([]string{"a"})
		m, _ := Parse(encodeCall(t, order, "", values))
		args := m.Arguments()
		if err := args.Dictionary(func(_, signature string) error { args.Skip(signature); return nil }); err != nil || args.OK() {
			t.Errorf("%s: of an unknown type: %v", name, err)
		}
	}
}

func TestNumbersAreReadAsTheLibraryWroteThem(t *testing.T) {
	for name, order := range bustest.ByteOrders {
		m, _ := Parse(encodeCall(t, order, "", byte(0x91), uint16(0x9234), int32(-5), uint64(1<<63+2), "no number"))
		args := m.Arguments()
		got := []uint64{args.Number("y"), args.Number("q"), args.Number("i"), args.Number("t")}
		if diff := cmp.Diff([]uint64{0x91, 0x9234, 1<<32 - 5, 1<<63 + 2}, got); diff != "" || !args.OK() {
			t.Errorf("%s: %s", name, diff)
		}
		if args.Number("s"); args.OK() {
			t.Errorf("%s: a string is a number", name)
		}
	}
}

func TestMessageThatIsCutOffHasNoBody(t *testing.T) {
	b := encodeCall(t, binary.LittleEndian, ":1.5", byte(1), byte(6), byte(2), byte(0x25), []byte{1, 2, 3})
	for length := range b {
		m, ok := Parse(b[:length])
		if ok != (length >= int(bodyOffset(b))) || m.Body != nil {
			t.Errorf("%d of %d bytes: %+v, %v", length, len(b), m, ok)
		}
	}
	if _, ok := Parse(append(b, 0)); ok {
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
		if m, ok := Parse(b); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// headerOf is the fields of a message as the library has them.
func headerOf(msg *dbus.Message) Header {
	text := func(f dbus.HeaderField) string { s, _ := msg.Headers[f].Value().(string); return s }
	replySerial, _ := msg.Headers[dbus.FieldReplySerial].Value().(uint32)
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	return Header{
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

func TestHeadersAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		name := "a.b" + strings.Repeat("c", length)
		for _, h := range []Header{
			{Type: TypeCall, Flags: FlagNoAutoStart, Serial: 5, Path: "/a", Interface: name, Member: "D", Destination: name, Signature: "u"},
			{Type: TypeReturn, Flags: FlagNoReply, Serial: 5, ReplySerial: 77, Destination: name, Signature: "u"},
			{Type: TypeSignal, Flags: FlagNoReply, Serial: 5, Path: "/a", Interface: name, Member: "D", Signature: "u"},
		} {
			msg := decode(t, Finish(AppendUint32(h.Begin(4), 42)))
			if diff := cmp.Diff(h, headerOf(msg), cmp.AllowUnexported(Header{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]any{uint32(42)}, msg.Body); diff != "" {
				t.Error(diff)
			}
		}
	}
}

// The package reads the same values of any bytes as the library, if that reads them.
func FuzzParse(f *testing.F) {
	for _, order := range bustest.ByteOrders {
		f.Add(encodeCall(f, order, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{1, 2, 3}))
		f.Add(encodeCall(f, order, ":1.5", map[string]dbus.Variant{"a": dbus.MakeVariant(uint32(3)), "b": dbus.MakeVariant("text")}))
		f.Add(encodeCall(f, order, "", "text", map[string]dbus.Variant{"a": dbus.MakeVariant(1)}))
		f.Add(encodeReturn(f, order, 99, byte(7), byte(0), byte(1), byte(0), []byte{}))
		f.Add(encodeError(f, order, 99, "org.freedesktop.DBus.Error.NoReply", "text", byte(1)))
		f.Add(encodeError(f, order, 99, "org.freedesktop.DBus.Error.NoReply"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := Parse(b)
		if !ok {
			return
		}
		dictionary := m.Arguments()
		values := map[string]string{}
		_ = dictionary.Dictionary(func(key, signature string) error {
			values[key] = signature
			dictionary.Skip(signature)
			return nil
		})
		msg, err := dbus.DecodeMessage(bytes.NewReader(b))
		if err != nil || m.Body == nil {
			return
		}
		sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
		errorName, _ := msg.Headers[dbus.FieldErrorName].Value().(string)
		want := headerOf(msg)
		if m.Type != want.Type || m.Serial != want.Serial || m.ReplySerial != want.ReplySerial ||
			string(m.Path) != want.Path || string(m.Interface) != want.Interface || string(m.Member) != want.Member ||
			string(m.Signature) != want.Signature || string(m.Sender) != sender || string(m.ErrorName) != errorName {
			t.Errorf("%+v is not %+v", m, msg)
		}
		if len(msg.Body) == 0 {
			return
		}
		switch first := msg.Body[0].(type) {
		case string:
			if text := m.ErrorText(); text != first {
				t.Errorf("%q is not %q", text, first)
			}
		case []byte:
			if args := m.Arguments(); !bytes.Equal(args.Bytes(), first) {
				t.Errorf("it is not % X", first)
			}
		case map[string]dbus.Variant:
			if string(m.Signature) != "a{sv}" || !dictionary.AtEnd() {
				return
			}
			for key, value := range first {
				if values[key] != value.Signature().String() {
					t.Errorf("%q is of type %q, not %v", key, values[key], value.Signature())
				}
			}
		}
	})
}
