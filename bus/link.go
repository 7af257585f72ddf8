package bus

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Link carries the requests of a bus. Its methods may be called from several goroutines at once,
// also while the bus is down. Only the bus's Lifecycle calls the methods of Device.
type Link interface {
	Device
	Controls
	// Send sends a request, whose data is valid until it returns. It does not block. Without
	// an error, the link calls c.End once, from any goroutine and without a lock held.
	Send(c *Call, req *ipmb.Request) error
	// Cancel ends a request of Send with context.Canceled, if it has not ended.
	Cancel(c *Call)
	// StartBroadcast does the same as ipmb.Engine.StartBroadcast.
	StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error
	// Describe fills in the Properties that the link knows. It does not block.
	Describe(p *Properties)
	// Statistics returns the counters by name; the caller may change the map.
	Statistics() map[string]uint64
	// Ping returns when each loop of the link waits. If one hangs, Ping does not return.
	Ping()
	// Drain takes no more requests from the bus, and waits until those taken are answered, or ctx
	// ends.
	Drain(ctx context.Context)
}

// Controls are the settings of a link that others may read and change.
type Controls interface {
	// Address is our own address on the bus.
	Address() ipmi.Address
	// RetryPolicy is the policy of requests without a policy of their own.
	RetryPolicy() ipmb.RetryPolicy
	// SetRetryPolicy changes that policy. Zero fields of p get their defaults.
	SetRetryPolicy(p ipmb.RetryPolicy)
	// MaxFrame is the longest frame that the link sends, in bytes; 0 if it is not known.
	MaxFrame() int
	// StartRespond writes a response that was made elsewhere, see ipmb.Engine.StartRespond.
	StartRespond(frame []byte, done func(error)) error
	// SetOwnAddress changes our own address on the bus. A kernel driver that answers at the old
	// address moves to the new one, and requests in progress end with ipmb.ErrClosed. Other errors
	// are ErrNoAdapter, ErrInUse, ErrFixed and ErrDevice.
	SetOwnAddress(ctx context.Context, a ipmi.Address) error
	// Bind makes the kernel device of the bus and opens it. If it is open, Bind does nothing. It
	// returns the errors of SetOwnAddress.
	Bind(ctx context.Context) error
	// Unbind closes and deletes the kernel device of the bus, which is then Down until Bind. It
	// returns the errors of SetOwnAddress.
	Unbind(ctx context.Context) error
	// SetIgnoreNACK and SetVerifyChecksum set the switches of Properties. The errors are
	// ipmb.ErrUnsupported where the driver has no switches, ipmb.ErrClosed and ErrDevice.
	SetIgnoreNACK(on bool) error
	SetVerifyChecksum(on bool) error
}

// Properties are the properties that a bus shows. They are comparable.
type Properties struct {
	Name      string // as in the configuration
	Device    string // path of the device or socket
	Transport string
	Channel   ipmi.Channel
	Index     uint8 // devIndex<<2 | type

	OwnAddress    ipmi.Address
	RemoteAddress ipmi.Address
	State         State
	Reason        string // of State, a sentence; "" when Up
	Handler       string // "host", "signal", "bmc" or "none"
	Policy        ipmb.RetryPolicy

	// IgnoreNACK: the driver sends frames to their end even if no node acknowledges them.
	IgnoreNACK bool
	// VerifyChecksum: the driver checks the header checksum of the frames that it receives.
	VerifyChecksum bool
}

// Number is the number of the I2C bus in the path of a device, as digits: those after the
// first '-' of the whole path, as ipmbbridge takes them ("/dev/ipmb-4" has "4"). In the path
// of an attribute in sysfs, which ipmbbridge does not have, the number begins the folder:
// ".../4-1010/slave-mqueue" has "4". Number is empty if there are no digits in that place.
func Number(device string) string {
	_, digits, _ := strings.Cut(device, "-")
	if folder, last := path.Split(device); last == mqueueAttribute {
		digits = path.Base(folder)
	}
	return digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))]
}

// mqueueAttribute is i2c.SlaveMqueue, the last part of the paths of that driver.
const mqueueAttribute = "slave-mqueue"

// Unbound is the Reason of a bus whose device Unbind has deleted, and the text of ErrUnbound.
const Unbound = "unbound"

// ErrUnbound: see Unbound.
var ErrUnbound = errors.New(Unbound)

// Errors of changes of the device of a bus.
var (
	// ErrNoAdapter: there is no I2C bus with that number.
	ErrNoAdapter = errors.New("there is no such I2C adapter")
	// ErrInUse: something else has the address or the node.
	ErrInUse = errors.New("the device is in use")
	// ErrFixed: nothing can bind, unbind or move this device.
	ErrFixed = errors.New("the device cannot be changed")
	// ErrDevice: the kernel did not make, delete or change the device.
	ErrDevice = errors.New("the kernel did not change the device")
)

// EngineLink implements the part of Link that every engine does in the same way.
type EngineLink struct{ *ipmb.Engine }

// Send implements Link.
func (l EngineLink) Send(c *Call, req *ipmb.Request) error { return l.Engine.Send(c.wire, req) }

// Cancel implements Link.
func (l EngineLink) Cancel(c *Call) { c.wire.Cancel() }

// Describe implements Link: our own address, and the policy.
func (l EngineLink) Describe(p *Properties) { p.OwnAddress, p.Policy = l.Address(), l.RetryPolicy() }

// NotBindable returns the error for a change of a device that no driver makes.
func NotBindable(path string) error {
	return fmt.Errorf("%w: %s is no node that a driver makes of an I2C bus and an address", ErrFixed, path)
}

// Fixed refuses all changes of the device at a path.
type Fixed struct{ Path string }

// SetOwnAddress implements Controls: ErrFixed.
func (f Fixed) SetOwnAddress(context.Context, ipmi.Address) error { return NotBindable(f.Path) }

// Bind implements Controls: ErrFixed.
func (f Fixed) Bind(context.Context) error { return NotBindable(f.Path) }

// Unbind implements Controls: ErrFixed.
func (f Fixed) Unbind(context.Context) error { return NotBindable(f.Path) }

// SetIgnoreNACK implements Controls: ipmb.ErrUnsupported.
func (Fixed) SetIgnoreNACK(bool) error { return ipmb.ErrUnsupported }

// SetVerifyChecksum implements Controls: ipmb.ErrUnsupported.
func (Fixed) SetVerifyChecksum(bool) error { return ipmb.ErrUnsupported }
