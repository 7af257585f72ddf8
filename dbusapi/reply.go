package dbusapi

import (
	"strings"

	"github.com/godbus/dbus/v5"
)

// maxErrorText is how many bytes of an error's text are sent: it may repeat what the
// caller has sent.
const maxErrorText = 8 << 10

// replyTo is where the reply to a method call goes.
type replyTo struct {
	stream      *stream
	serial      uint32 // of the call
	destination string
	unwanted    bool
}

// replyTo is where the reply to a call goes, without its destination.
func (s *stream) replyTo(m *wireMessage) replyTo {
	return replyTo{stream: s, serial: m.serial, unwanted: m.flags&wireNoReply != 0}
}

// header begins the header of a method return.
func (to *replyTo) header(signature string) wireHeader {
	return wireHeader{
		kind:        wireReturn,
		flags:       wireNoReply,
		serial:      to.stream.serials.GetSerial(),
		replySerial: to.serial,
		destination: to.destination,
		signature:   signature,
	}
}

// send sends a reply, if one is wanted. An error is that of a lost connection.
func (to *replyTo) send(b []byte, r receipt) {
	if !to.unwanted {
		_ = to.stream.out.send(outgoing{head: b, reply: true, receipt: r})
	}
}

// results sends a method return, the body of which may be shared with others.
func (to *replyTo) results(signature string, body []byte) {
	if to.unwanted {
		return
	}
	h := to.header(signature)
	_ = to.stream.out.send(outgoing{head: setLength(h.marshal(0), len(body)), body: body, reply: true})
}

// drop is the end of a call that is not replied to.
func (to *replyTo) drop() {
	if !to.unwanted {
		to.stream.replies.give()
	}
}

// fail sends an error.
func (to *replyTo) fail(err *dbus.Error) {
	if !to.unwanted {
		to.send(to.errorIn(nil, err), nil)
	}
}

func first(values []any) any {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

// errorIn makes an error, in memory that is there already.
func (to *replyTo) errorIn(b []byte, err *dbus.Error) []byte {
	h := to.header("s")
	h.kind, h.errorName = wireError, err.Name
	text, _ := first(err.Body).(string)
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "")
	}
	return finish(appendString(h.marshalIn(b), text))
}
