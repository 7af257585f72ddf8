package i2c

// Warner is a Transport that can tell that it works, but not as it should.
type Warner interface {
	// Warning says what is wrong and what to do about it, "" when nothing is.
	// It does not change while the transport is open.
	Warning() string
}
