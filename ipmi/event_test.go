package ipmi

import (
	"bytes"
	"testing"
	"time"
)

func TestEventFromIPMB(t *testing.T) {
	e, code := ParseEvent(&Request{
		Interface: "bus4", Channel: 6, Requester: 0x2C, RequesterLUN: 1, NetFn: NetFnSensor, Command: CommandPlatformEvent,
		Data: []byte{0x04, 0x01, 0x30, 0x01, 0x57, 0x60, 0x5F},
	})
	if code != CodeOK {
		t.Fatal(code)
	}
	want := []byte{0x07, 0x01, 0x02, 0x10, 0x32, 0x54, 0x65, 0x2C, 0x61, 0x04, 0x01, 0x30, 0x01, 0x57, 0x60, 0x5F}
	if got := e.Record(0x0107, time.Unix(0x65543210, 0)); !bytes.Equal(got[:], want) {
		t.Errorf("record % X, want % X", got, want)
	}
	if got := e.String(); got != "sensor type 01h number 30h asserted, event type 01h, data 57 60 5F, from 2Ch" {
		t.Error(got)
	}
}

// Linux's panic event: software gives its own ID.
func TestEventFromSystemInterface(t *testing.T) {
	e, code := ParseEvent(&Request{
		Channel: ChannelSystemInterface, NetFn: NetFnSensor, Command: CommandPlatformEvent,
		Data: []byte{0x41, 0x03, 0x20, 0x73, 0xEF, 0xA1, 0x79, 0x73},
	})
	if code != CodeOK || e.Generator != 0x0041 || e.Asserted() || e.Message != [7]byte{0x03, 0x20, 0x73, 0xEF, 0xA1, 0x79, 0x73} {
		t.Errorf("got %+v, %v", e, code)
	}
	if record := e.Record(1, time.Unix(0, 0)); record[9] != 0x04 {
		t.Errorf("revision %02Xh in the record, want 04h", record[9])
	}
}

func TestEventDataMayBeLeftOut(t *testing.T) {
	e, code := ParseEvent(&Request{Requester: 0x2C, Data: []byte{0x04, 0x01, 0x30, 0x01, 0x57}})
	if code != CodeOK || !bytes.Equal(e.Data(), []byte{0x57, 0xFF, 0xFF}) {
		t.Errorf("got %+v, %v", e, code)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		name      string
		requester Address
		data      []byte
		want      CompletionCode
	}{
		{"no data", 0x2C, nil, CodeLengthInvalid},
		{"no data from a system interface", 0, nil, CodeLengthInvalid},
		{"too short", 0x2C, []byte{4, 1, 0x30, 1}, CodeLengthInvalid},
		{"too long", 0x2C, []byte{4, 1, 0x30, 1, 0, 0, 0, 0}, CodeLengthInvalid},
		{"too short behind a generator", 0, []byte{0x41, 4, 1, 0x30, 1}, CodeLengthInvalid},
		{"unknown revision", 0x2C, []byte{5, 1, 0x30, 1, 0, 0, 0}, CodeInvalidField},
	} {
		if e, code := ParseEvent(&Request{Requester: tt.requester, Data: tt.data}); code != tt.want {
			t.Errorf("%s: %+v, %v, want %v", tt.name, e, code, tt.want)
		}
	}
}

func TestEventOfARecord(t *testing.T) {
	e := Event{Generator: 0x1282, Message: [7]byte{4, 1, 0x30, 0x01, 0x57, 0x60, 0x5F}}
	record := e.Record(7, time.Unix(1000, 0))
	if got, ok := EventOf(record[:]); !ok || got != e {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := EventOf(record[:15]); ok {
		t.Error("15 bytes are a record")
	}
	record[2] = 0xC0
	if _, ok := EventOf(record[:]); ok {
		t.Error("an OEM record is an event")
	}
}
