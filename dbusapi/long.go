package dbusapi

import (
	"fmt"

	"github.com/godbus/dbus/v5"
)

// maxMessage is the longest call or signal that is read, in bytes. Of the messages to us
// only configurations and registrations are longer than a frame, while the message bus
// passes on 32 MiB and more, any number of them at once, and from anybody who may look.
const maxMessage = 256 << 10

// tooLong reports whether a message is to be skipped. A reply is to a call of ours.
func tooLong(kind byte, length int) bool {
	return length > maxMessage && (kind == wireCall || kind == wireSignal)
}

// skip reads over a message, of which the first bytes are here. A call that says who
// it is from has an error for a reply.
func (s *stream) skip(begin []byte, length int) error {
	if begin[1] == wireCall {
		if m, ok := parseMessage(begin); ok && len(m.sender) > 0 {
			to := s.replyTo(&m)
			to.destination = string(m.sender)
			to.fail(tooLongError(length))
		} else if begin[2]&wireNoReply == 0 {
			s.replies.give()
		}
	}
	_, err := s.buffer.Discard(length)
	return err
}

// tooLongError is what the caller is told of a call that is too long.
func tooLongError(length int) *dbus.Error {
	return &dbus.Error{Name: errorLimits, Body: []any{
		fmt.Sprintf("a message of %d bytes: more than %d are not read", length, maxMessage)}}
}
