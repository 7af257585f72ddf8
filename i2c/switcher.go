package i2c

// Switches are what the ipmb-device driver can be told. They belong to the
// device: they outlive who set them, and hold for all who have it open.
type Switches struct {
	// IgnoreNACK: a frame is sent to its end even if nobody takes it. No write
	// is ErrNotAcknowledged then.
	IgnoreNACK bool
	// VerifyChecksum: the driver drops frames with a wrong header checksum,
	// and refuses them on the bus where the adapter can.
	VerifyChecksum bool
}

// Switcher is a Transport whose driver has Switches. Its methods may be called
// from any goroutine.
type Switcher interface {
	// Switches are as they were set with success.
	Switches() Switches
	// SetIgnoreNACK returns an OpError that unwraps to errors.ErrUnsupported
	// when the adapter cannot, or ErrClosed.
	SetIgnoreNACK(on bool) error
	// SetVerifyChecksum is as SetIgnoreNACK.
	SetVerifyChecksum(on bool) error
}
