package record

import "fmt"

// Bounds of texts, in characters. A text of one character would look like the end of the fields
// of a FRU (C1h), and section 43.15 of IPMI v2.0 reserves that length.
const (
	MinText = 2
	// MaxName is the length of the longest name in a sensor data record (IPMI v2.0, section 43).
	MaxName = 16
	// MaxFRUText is the length of the longest text in a FRU (FRU v1.0, section 13).
	MaxFRUText = 63

	textLength = 0xC0 // type/length byte: 8-bit ASCII + Latin 1, and the number of characters
)

// Latin1 encodes a text of 2 to most characters as records hold it, in 8-bit ASCII + Latin 1: one
// byte for each character (IPMI v2.0, section 43.15; FRU v1.0, section 13). The error says why
// that is not possible.
func Latin1(text string, most int) ([]byte, error) {
	b := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case c > 0xFF:
			return nil, fmt.Errorf("must be in Latin-1, which does not have %q", c)
		case IsControl(byte(c)):
			return nil, fmt.Errorf("must not have control characters, such as %U", c)
		}
		b = append(b, byte(c))
	}
	if len(b) < MinText || len(b) > most {
		return nil, fmt.Errorf("must have %d to %d characters, not %d", MinText, most, len(b))
	}
	return b, nil
}

// IsControl reports whether a character of Latin-1 is a control character (ISO 6429).
func IsControl(c byte) bool { return c < ' ' || c >= 0x7F && c < 0xA0 }

// appendText appends a type/length byte and a text, which may be empty.
func appendText(b []byte, text string, most int) ([]byte, error) {
	if text == "" {
		return append(b, textLength), nil
	}
	encoded, err := Latin1(text, most)
	if err != nil {
		return b, err
	}
	return append(append(b, textLength|byte(len(encoded))), encoded...), nil
}
