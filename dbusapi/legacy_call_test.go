package dbusapi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResponsesAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		to := legacyReply{stream: &stream{}, serial: 77, destination: ":1." + strings.Repeat("9", length+1)}
		response := legacyResponse{Status: 0, NetFn: 7, LUN: 0, Command: 1, Code: 0xC1, Data: bytes.Repeat([]byte{0xEE}, length)}
		msg := decode(t, to.marshal(response))
		want := []any{[]any{int32(0), byte(7), byte(0), byte(1), byte(0xC1), response.Data}}
		if diff := cmp.Diff(want, msg.Body); diff != "" {
			t.Error(diff)
		}
		wantHeader := wireHeader{kind: wireReturn, flags: wireNoReply, serial: 1, replySerial: 77,
			destination: to.destination, signature: responseSignature}
		if diff := cmp.Diff(wantHeader, headerOf(msg), cmp.AllowUnexported(wireHeader{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestWhatIsNotExactlyARequestIsLeftToTheLibrary(t *testing.T) {
	request := []any{byte(0), byte(6), byte(0), byte(1), []byte{}}
	good := encodeCall(t, binary.LittleEndian, ":1.5", request...)
	short := bytes.Clone(good)
	short[len(short)-4]++ // the data is longer than the body
	s := &Server{}
	for name, b := range map[string][]byte{
		"no sender":       encodeCall(t, binary.LittleEndian, "", request...),
		"no arguments":    encodeCall(t, binary.LittleEndian, ":1.5"),
		"other signature": encodeCall(t, binary.LittleEndian, ":1.5", "text"),
		"data too long":   short,
		"cut off":         good[:len(good)-1],
		"other path":      bytes.Replace(good, []byte("/Channel/Ipmb\x00"), []byte("/Channel/Ipmc\x00"), 1),
		"other interface": bytes.Replace(good, []byte(legacyInterface), []byte("org.openbmc.Ipmc"), 1),
		"other member":    bytes.Replace(good, []byte("sendRequest"), []byte("sendRequesr"), 1),
	} {
		m, ok := parseMessage(b)
		if !ok {
			t.Errorf("%s is no message", name)
		}
		if s.takeRequest(nil, m) {
			t.Errorf("%s was taken", name)
		}
	}
	for name, b := range map[string][]byte{
		"signal":        append([]byte{'l', wireSignal}, good[2:]...),
		"other version": append([]byte{'l', wireCall, 0, 2}, good[4:]...),
		"other order":   append([]byte{'x'}, good[1:]...),
		"empty":         {},
	} {
		if (&stream{take: s.takeRequest}).taken(b) {
			t.Errorf("%s was taken", name)
		}
	}
}
