package dbusapi

// wireMessage is a message as it was received. Its slices are views.
//
//	0 'l' or 'B'   1 type   2 flags   3 version   4 length of the body   8 serial
//	12 length of the fields   16 fields, a(yv), padded to 8   then the body
type wireMessage struct {
	order               byteOrder
	kind, flags         byte
	serial, replySerial uint32

	path, iface, member, errorName []byte
	sender, signature              []byte

	body []byte // nil when it did not fit into the buffer
	raw  []byte // all of the message, or as much as did fit
	own  bool   // raw may be kept
}

// parseMessage reads the message that b begins with; its body may be cut off.
// What it does not know, or finds wrong, it leaves to the library: false.
func parseMessage(b []byte) (m wireMessage, ok bool) {
	if len(b) < wireFixed || b[3] != wireVersion {
		return m, false
	}
	m.raw = b
	m.order, m.kind, m.flags = byteOrder(b[0]), b[1], b[2]
	if m.order != littleEndian && m.order != bigEndian {
		return m, false
	}
	length, ok := wireLength(b)
	if !ok || length < len(b) || wireBody(b) > len(b) {
		return m, false
	}
	m.serial = m.order.uint32(b[8:])
	if length == len(b) {
		m.body = b[wireBody(b):]
	}
	return m, m.parseFields(b[:wireFixed+m.order.uint32(b[12:])])
}

// parseFields reads the header fields, which end where b ends.
func (m *wireMessage) parseFields(b []byte) bool {
	for at := wireFixed; at < len(b); {
		at = (at + 7) &^ 7
		// The code, and the signature of one basic type.
		if at+4 > len(b) || b[at+1] != 1 || b[at+3] != 0 {
			return false
		}
		code := b[at]
		if int(code) >= len(fieldTypes) || b[at+2] != fieldTypes[code] {
			return false
		}
		ok := false
		if at, ok = m.parseField(code, b, at+4); !ok {
			return false
		}
	}
	return true
}

// parseField reads the value of a header field at an offset that is a multiple
// of 4, and gives the offset behind it.
func (m *wireMessage) parseField(code byte, b []byte, at int) (next int, ok bool) {
	var text []byte
	switch fieldTypes[code] {
	case 'u':
		if at+4 > len(b) {
			return 0, false
		}
		if code == fieldReplySerial {
			m.replySerial = m.order.uint32(b[at:])
		}
		return at + 4, true
	case 'g':
		text, ok = signatureIn(b[at:])
		next = at + 1 + len(text) + 1
	case 's', 'o':
		text, ok = m.order.stringIn(b[at:])
		next = at + 4 + len(text) + 1
	}
	switch code {
	case fieldPath:
		m.path = text
	case fieldInterface:
		m.iface = text
	case fieldMember:
		m.member = text
	case fieldErrorName:
		m.errorName = text
	case fieldSender:
		m.sender = text
	case fieldSignature:
		m.signature = text
	}
	return next, ok
}

// errorText is the first argument of an error, if it is a string: what
// happened, for humans.
func (m *wireMessage) errorText() string {
	if len(m.signature) == 0 || m.signature[0] != 's' {
		return ""
	}
	text, _ := m.order.stringIn(m.body)
	return string(text)
}

// stringIn is the string, or object path, that b begins with: its length, the
// text and a zero.
func (o byteOrder) stringIn(b []byte) ([]byte, bool) {
	if len(b) < 4 || uint64(len(b)-4) <= uint64(o.uint32(b)) {
		return nil, false
	}
	return b[4 : 4+o.uint32(b)], true
}

// signatureIn is the signature that b begins with: its length in one byte, the
// text and a zero.
func signatureIn(b []byte) ([]byte, bool) {
	if len(b) < 1 || len(b)-1 <= int(b[0]) {
		return nil, false
	}
	return b[1 : 1+int(b[0])], true
}

// bytesIn is the array of bytes that b begins with, and what follows it.
func (o byteOrder) bytesIn(b []byte) (array, rest []byte, ok bool) {
	if len(b) < 4 || uint64(len(b)-4) < uint64(o.uint32(b)) {
		return nil, nil, false
	}
	end := 4 + int(o.uint32(b))
	return b[4:end], b[end:], true
}

// bytesOf is the array of bytes that is all of b.
func (o byteOrder) bytesOf(b []byte) ([]byte, bool) {
	array, rest, ok := o.bytesIn(b)
	return array, ok && len(rest) == 0
}

// wireReader reads values one after the other. A read beyond the end sets
// failed and gives zero.
type wireReader struct {
	order  byteOrder
	b      []byte // what is left
	offset int    // of b in its body
	failed bool
}

// take takes n bytes.
func (r *wireReader) take(n int) []byte {
	if n > len(r.b) {
		r.failed = true
		r.b = nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	r.offset += n
	return taken
}

// align goes on to a multiple of n bytes.
func (r *wireReader) align(n int) { r.take(-r.offset & (n - 1)) }

func (r *wireReader) uint32() uint32 {
	r.align(4)
	b := r.take(4)
	if b == nil {
		return 0
	}
	return r.order.uint32(b)
}

func (r *wireReader) string() []byte { return r.text(uint64(r.uint32())) }

func (r *wireReader) signature() []byte {
	b := r.take(1)
	if b == nil {
		return nil
	}
	return r.text(uint64(b[0]))
}

// text takes a text and the zero behind it.
func (r *wireReader) text(length uint64) []byte {
	b := r.take(int(min(length+1, uint64(len(r.b)+1))))
	if b == nil {
		return nil
	}
	return b[:len(b)-1]
}

// basic is a value of one of the types y, b and u.
func (r *wireReader) basic(signature string) any {
	switch signature {
	case "y":
		if b := r.take(1); b != nil {
			return b[0]
		}
		return byte(0)
	case "b":
		return r.uint32() != 0
	}
	return r.uint32()
}
