package dbusapi

import "fmt"

// maxMessage is the longest call or signal that is read, in bytes: of all that is
// said to us only configurations and registrations are longer than a frame. The
// message bus lets pass 32 MiB and more, of whoever may look, too, and of any number
// at once.
const maxMessage = 256 << 10

const errorLimits = "org.freedesktop.DBus.Error.LimitsExceeded"

// tooLong reports whether a message is to be skipped. A reply is to a call of ours.
func tooLong(kind byte, length int) bool {
	return length > maxMessage && (kind == wireCall || kind == wireSignal)
}

// skip reads over a message, of which the first bytes are here. A call that says who
// it is from has an error for a reply.
func (s *stream) skip(begin []byte, length int) error {
	if begin[1] == wireCall && begin[2]&wireNoReply == 0 {
		if m, ok := parseMessage(begin); ok && len(m.sender) > 0 {
			reply := s.refusal(m, length)
			// Who reads does not wait for who writes. An error is that of a lost connection.
			go func() { _, _ = s.Write(reply) }()
		} else {
			s.replies.give()
		}
	}
	_, err := s.buffer.Discard(length)
	return err
}

// refusal is an error for a call that is too long.
func (s *stream) refusal(call wireMessage, length int) []byte {
	text := fmt.Sprintf("a message of %d bytes: more than %d are not read", length, maxMessage)
	h := wireHeader{
		kind:        wireError,
		flags:       wireNoReply,
		serial:      s.serials.GetSerial(),
		replySerial: call.serial,
		errorName:   errorLimits,
		destination: string(call.sender),
		signature:   "s",
	}
	return finish(appendString(h.marshal(4+len(text)+1), text))
}
