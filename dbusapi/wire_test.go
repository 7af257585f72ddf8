package dbusapi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// encodeCall makes the library encode a call of org.openbmc.Ipmb.sendRequest.
func encodeCall(t testing.TB, order binary.ByteOrder, sender string, args ...any) []byte {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(BasePath),
			dbus.FieldInterface:   dbus.MakeVariant(legacyInterface),
			dbus.FieldMember:      dbus.MakeVariant("sendRequest"),
			dbus.FieldDestination: dbus.MakeVariant(ServiceName),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(args...)),
		},
		Body: args,
	}
	if sender != "" {
		msg.Headers[dbus.FieldSender] = dbus.MakeVariant(sender)
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	order.PutUint32(b.Bytes()[8:], 77) // a serial
	return b.Bytes()
}

func TestCallsAreReadAsTheLibraryWroteThem(t *testing.T) {
	for length := range 20 {
		sender := ":1." + strings.Repeat("9", length+1)
		data := bytes.Repeat([]byte{0xEE}, length)
		b := encodeCall(t, binary.LittleEndian, sender, byte(1), byte(6), byte(2), byte(0x25), data)
		m, ok := parseCall(b)
		if !ok || m.serial != 77 || string(m.sender) != sender || string(m.path) != string(BasePath) ||
			string(m.iface) != legacyInterface || string(m.member) != "sendRequest" || string(m.signature) != requestSignature {
			t.Fatalf("%+v, %v", m, ok)
		}
		args, ok := parseRequest(m.body)
		if !ok || args.channel != 1 || args.netFn != 6 || args.lun != 2 || args.cmd != 0x25 || !bytes.Equal(args.data, data) {
			t.Fatalf("%+v, %v", args, ok)
		}
		for cut := range b {
			if _, ok := parseCall(b[:cut]); ok {
				t.Fatalf("%d of %d bytes are a call", cut, len(b))
			}
		}
	}
}

func TestRepliesAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		sender := ":1." + strings.Repeat("9", length+1)
		response := legacyResponse{Status: 0, NetFn: 7, LUN: 0, Command: 1, Code: 0xC1, Data: bytes.Repeat([]byte{0xEE}, length)}
		msg, err := dbus.DecodeMessage(bytes.NewReader(appendReply(nil, 5, 77, sender, response)))
		if err != nil {
			t.Fatal(err)
		}
		want := []any{[]any{int32(0), byte(7), byte(0), byte(1), byte(0xC1), response.Data}}
		if diff := cmp.Diff(want, msg.Body); diff != "" {
			t.Error(diff)
		}
		if msg.Type != dbus.TypeMethodReply || msg.Serial() != 5 || msg.Headers[dbus.FieldDestination].Value() != sender ||
			msg.Headers[dbus.FieldReplySerial].Value() != uint32(77) ||
			msg.Headers[dbus.FieldSignature].Value().(dbus.Signature).String() != responseSignature {
			t.Errorf("%+v", msg)
		}
	}
}

func TestWhatIsNotExactlyARequestIsLeftToTheLibrary(t *testing.T) {
	request := []any{byte(0), byte(6), byte(0), byte(1), []byte{}}
	good := encodeCall(t, binary.LittleEndian, ":1.5", request...)
	short := bytes.Clone(good)
	short[len(short)-4]++ // the data is longer than the body
	s := &Server{}
	for name, message := range map[string][]byte{
		"big endian":      encodeCall(t, binary.BigEndian, ":1.5", request...),
		"no sender":       encodeCall(t, binary.LittleEndian, "", request...),
		"other signature": encodeCall(t, binary.LittleEndian, ":1.5", "text"),
		"data too long":   short,
		"other path":      bytes.Replace(good, []byte("/Channel/Ipmb\x00"), []byte("/Channel/Ipmc\x00"), 1),
		"other interface": bytes.Replace(good, []byte(legacyInterface), []byte("org.openbmc.Ipmc"), 1),
		"other member":    bytes.Replace(good, []byte("sendRequest"), []byte("sendRequesr"), 1),
		"signal":          append([]byte{'l', 4}, good[2:]...),
		"other version":   append([]byte{'l', 1, 0, 2}, good[4:]...),
		"empty":           {},
	} {
		if s.takeRequest(nil, message) {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	f.Add(encodeCall(f, binary.LittleEndian, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{1, 2, 3}))
	f.Add(encodeCall(f, binary.BigEndian, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{}))
	f.Add(encodeCall(f, binary.LittleEndian, "", "text", map[string]dbus.Variant{"a": dbus.MakeVariant(1)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseCall(b)
		if !ok {
			return
		}
		// What the library reads as well must read the same.
		msg, err := dbus.DecodeMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		member, _ := msg.Headers[dbus.FieldMember].Value().(string)
		sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
		if string(m.member) != member || string(m.sender) != sender || m.serial != msg.Serial() {
			t.Errorf("%+v is not %+v", m, msg)
		}
		args, ok := parseRequest(m.body)
		if string(m.signature) != requestSignature || !ok {
			return
		}
		want := []any{args.channel, args.netFn, args.lun, args.cmd, bytes.Clone(args.data)}
		if len(msg.Body) != 5 || !cmp.Equal(want[:4], msg.Body[:4]) || !bytes.Equal(args.data, msg.Body[4].([]byte)) {
			t.Errorf("%v is not %v", want, msg.Body)
		}
	})
}
