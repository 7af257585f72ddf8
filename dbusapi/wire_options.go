package dbusapi

// wireOption is a value of a dictionary a{sv}: a number or a text, which is a view.
type wireOption struct {
	number uint64
	text   []byte
}

// fixedSizes is how many bytes a number takes, by its type.
var fixedSizes = [...]int{'y': 1, 'n': 2, 'q': 2, 'b': 4, 'i': 4, 'u': 4, 'x': 8, 't': 8, 'd': 8}

// optionsIn reads a dictionary a{sv} that begins, with its padding, at an offset of the
// body b, and ends where b does. Values of basic types only are read.
func (o byteOrder) optionsIn(b []byte, at int) (map[string]wireOption, bool) {
	at = aligned(at, 4)
	if at+4 > len(b) {
		return nil, false
	}
	length := uint64(o.uint32(b[at:]))
	at = aligned(at+4, 8)
	if uint64(at)+length != uint64(len(b)) {
		return nil, false
	}
	options := make(map[string]wireOption)
	for at < len(b) {
		name, next, ok := o.textIn(b, aligned(at, 8))
		if !ok {
			return nil, false
		}
		var value wireOption
		if value, at, ok = o.optionIn(b, next); !ok {
			return nil, false
		}
		options[string(name)] = value
	}
	return options, true
}

// optionIn reads a variant, and gives the offset behind it.
func (o byteOrder) optionIn(b []byte, at int) (value wireOption, next int, ok bool) {
	if at > len(b) {
		return value, 0, false
	}
	signature, ok := signatureIn(b[at:])
	if !ok || len(signature) != 1 {
		return value, 0, false
	}
	at += len(signature) + 2
	kind := signature[0]
	switch kind {
	case 's', 'o':
		value.text, next, ok = o.textIn(b, aligned(at, 4))
		return value, next, ok
	case 'g':
		value.text, ok = signatureIn(b[min(at, len(b)):])
		return value, at + len(value.text) + 2, ok
	}
	if int(kind) >= len(fixedSizes) || fixedSizes[kind] == 0 {
		return value, 0, false
	}
	size := fixedSizes[kind]
	at = aligned(at, size)
	if at+size > len(b) {
		return value, 0, false
	}
	value.number = o.number(b[at : at+size])
	return value, at + size, true
}

// textIn reads a string at an offset that is aligned, and gives the offset behind it.
func (o byteOrder) textIn(b []byte, at int) (text []byte, next int, ok bool) {
	if at > len(b) {
		return nil, 0, false
	}
	text, ok = o.stringIn(b[at:])
	return text, at + 4 + len(text) + 1, ok
}

// number is the number that is all of b.
func (o byteOrder) number(b []byte) (n uint64) {
	for i := range b {
		if o == bigEndian {
			n = n<<8 | uint64(b[i])
		} else {
			n |= uint64(b[i]) << (8 * i)
		}
	}
	return n
}

// aligned is the next multiple of n, a power of 2.
func aligned(at, n int) int { return (at + n - 1) &^ (n - 1) }
