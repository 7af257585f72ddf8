package dbuswire

import "encoding/binary"

// Types of messages (D-Bus specification, "Message Format").
const (
	TypeCall   = 1
	TypeReturn = 2
	TypeError  = 3
	TypeSignal = 4
)

// Flags of messages.
const (
	FlagNoReply     = 1 // the sender of a call wants no reply
	FlagNoAutoStart = 2 // the message bus starts no service for the call
)

const (
	version   = 1
	fixed     = 16      // bytes of a header before its fields
	maxLength = 1 << 27 // of a message
)

// Codes of the header fields, and the type that each must have.
const (
	fieldPath = iota + 1
	fieldInterface
	fieldMember
	fieldErrorName
	fieldReplySerial
	fieldDestination
	fieldSender
	fieldSignature

	fieldTypes = "\x00osssussgu" // the last is a number of file descriptors
)

// byteOrder is the first byte of a message, the order of its numbers. The package writes
// little-endian messages.
type byteOrder byte

const (
	littleEndian byteOrder = 'l'
	bigEndian    byteOrder = 'B'
)

func (o byteOrder) uint32(b []byte) uint32 {
	if o == bigEndian {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// messageLength returns the length of the message that begins with b, which has at least fixed
// bytes. It returns false for a length that D-Bus does not allow.
func messageLength(b []byte) (int, bool) {
	length := uint64(bodyOffset(b)) + uint64(byteOrder(b[0]).uint32(b[4:]))
	return int(length), length <= maxLength
}

// bodyOffset returns where the body of the message that begins with b starts: behind the header
// fields and their padding.
func bodyOffset(b []byte) uint64 {
	return alignUp(fixed+uint64(byteOrder(b[0]).uint32(b[12:])), 8)
}

// alignUp is the next multiple of n, a power of 2.
func alignUp[T int | uint64](at, n T) T { return (at + n - 1) &^ (n - 1) }

// Message is a message as it was received. Its slices are views of the memory it was read from.
//
//	0 'l' or 'B'   1 type   2 flags   3 version   4 length of the body   8 serial
//	12 length of the fields   16 fields, a(yv), padded to 8   then the body
type Message struct {
	order               byteOrder
	Type, Flags         byte
	Serial, ReplySerial uint32

	Path, Interface, Member, ErrorName []byte
	Sender, Signature                  []byte

	Body []byte // nil if the buffer was too small for the whole message
	Raw  []byte // the message, or as much of it as fitted into the buffer
	// Owned says that Raw may be kept after the function that got the message has returned.
	Owned bool
}

// Parse reads a message that fills b, or one that only begins in b: then it has no body. It
// returns false for a message that is wrong, or has header fields that the package does not know.
func Parse(b []byte) (m Message, ok bool) {
	ok = m.parseHeader(b)
	return m, ok
}

func (m *Message) parseHeader(b []byte) bool {
	*m = Message{Raw: b}
	if len(b) < fixed || b[3] != version {
		return false
	}
	m.order, m.Type, m.Flags = byteOrder(b[0]), b[1], b[2]
	if m.order != littleEndian && m.order != bigEndian {
		return false
	}
	length, ok := messageLength(b)
	body := bodyOffset(b)
	if !ok || length < len(b) || body > uint64(len(b)) {
		return false
	}
	m.Serial = m.order.uint32(b[8:])
	if length == len(b) {
		m.Body = b[body:]
	}
	return m.parseFields(b[:fixed+m.order.uint32(b[12:])])
}

// parseFields reads the header fields, which end where b ends.
func (m *Message) parseFields(b []byte) bool {
	r := Reader{order: m.order, b: b, at: fixed}
	for r.More() {
		r.Align(8)
		head := r.readBytes(4) // the code, and a signature of one type
		if head == nil || head[1] != 1 || head[3] != 0 || int(head[0]) >= len(fieldTypes) || head[2] != fieldTypes[head[0]] || head[2] == 0 {
			return false
		}
		switch head[0] {
		case fieldPath:
			m.Path = r.String()
		case fieldInterface:
			m.Interface = r.String()
		case fieldMember:
			m.Member = r.String()
		case fieldErrorName:
			m.ErrorName = r.String()
		case fieldReplySerial:
			m.ReplySerial = r.Uint32()
		case fieldSender:
			m.Sender = r.String()
		case fieldSignature:
			m.Signature = r.Signature()
		default:
			r.Skip(fieldTypes[head[0] : head[0]+1])
		}
	}
	return r.OK()
}

// WantsReply reports whether the sender of a call wants a reply.
func (m *Message) WantsReply() bool { return m.Flags&FlagNoReply == 0 }

// ErrorText returns the first argument of an error if that is a string: the text for people.
func (m *Message) ErrorText() string {
	if len(m.Signature) == 0 || m.Signature[0] != 's' {
		return ""
	}
	r := m.Arguments()
	return string(r.String())
}

// Arguments reads the body.
func (m *Message) Arguments() Reader { return Reader{order: m.order, b: m.Body} }

// Reader reads values one after the other. A read beyond the end returns zero, and OK is false
// from then on. Bytes and texts are views.
type Reader struct {
	order  byteOrder
	b      []byte
	at     int // in b
	failed bool
}

// OK reports whether no read has failed.
func (r *Reader) OK() bool { return !r.failed }

// More reports whether bytes are left and no read has failed.
func (r *Reader) More() bool { return r.at < len(r.b) && !r.failed }

// AtEnd reports whether all has been read, and no read has failed.
func (r *Reader) AtEnd() bool { return r.at == len(r.b) && !r.failed }

func (r *Reader) fail() {
	r.failed = true
	r.at = len(r.b)
}

// readBytes reads n bytes, nil if there are fewer.
func (r *Reader) readBytes(n int) []byte {
	at := r.at
	if n > len(r.b)-at {
		r.fail()
		return nil
	}
	r.at = at + n
	return r.b[at:r.at]
}

// Align skips the padding before a value that begins at a multiple of n bytes.
func (r *Reader) Align(n int) {
	if r.at = alignUp(r.at, n); r.at > len(r.b) {
		r.fail()
	}
}

// Byte reads a y.
func (r *Reader) Byte() byte {
	at := r.at
	if at >= len(r.b) {
		r.failed = true
		return 0
	}
	r.at = at + 1
	return r.b[at]
}

// Uint32 reads a u, or a value of another type of that size.
func (r *Reader) Uint32() uint32 {
	at := alignUp(r.at, 4)
	if at+4 > len(r.b) {
		r.fail()
		return 0
	}
	r.at = at + 4
	return r.order.uint32(r.b[at:])
}

// Bytes reads an ay.
func (r *Reader) Bytes() []byte { return r.readBytes(int(min(r.Uint32(), maxLength))) }

// String reads an s or an o.
func (r *Reader) String() []byte { return r.readText(int(min(r.Uint32(), maxLength))) }

// Signature reads a g.
func (r *Reader) Signature() []byte { return r.readText(int(r.Byte())) }

// readText reads a text and the zero behind it.
func (r *Reader) readText(length int) []byte {
	at := r.at
	if length >= len(r.b)-at {
		r.fail()
		return nil
	}
	r.at = at + length + 1
	return r.b[at : at+length]
}

// sizes are the bytes that a value of a type of fixed size takes.
var sizes = [...]int{'y': 1, 'n': 2, 'q': 2, 'b': 4, 'i': 4, 'u': 4, 'h': 4, 'x': 8, 't': 8, 'd': 8}

// Number reads a value of a type of fixed size. It fails for another type.
func (r *Reader) Number(signature string) (n uint64) {
	if len(signature) != 1 || int(signature[0]) >= len(sizes) || sizes[signature[0]] == 0 {
		r.failed = true
		return 0
	}
	size := sizes[signature[0]]
	r.Align(size)
	for i, b := range r.readBytes(size) {
		if r.order == bigEndian {
			n = n<<8 | uint64(b)
		} else {
			n |= uint64(b) << (8 * i)
		}
	}
	return n
}

// Skip skips a value of a basic type, or an array of bytes or of 32-bit numbers. It fails
// for another type.
func (r *Reader) Skip(signature string) {
	switch signature {
	case "s", "o":
		r.String()
	case "g":
		r.Signature()
	case "ay", "au":
		r.Bytes()
	default:
		r.Number(signature)
	}
}

// Dictionary reads an a{sv} that ends where the body ends. It calls entry with each key and
// the signature of its value; entry reads or skips the value. An error of entry ends the
// reading. OK is false after a dictionary that is malformed.
func (r *Reader) Dictionary(entry func(key, signature string) error) error {
	length := int(min(r.Uint32(), maxLength))
	if r.AtEnd() && length == 0 {
		return nil // An empty array may come without its padding.
	}
	r.Align(8)
	if len(r.b)-r.at != length {
		r.failed = true
	}
	for r.More() {
		r.Align(8)
		key, signature := r.String(), r.Signature()
		if !r.OK() {
			break
		}
		if err := entry(string(key), string(signature)); err != nil {
			return err
		}
	}
	return nil
}
