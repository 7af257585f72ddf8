package ipmi

import (
	"fmt"
	"time"
)

// NetFn is a network function code, 0 to 3Fh: even in a request, the next odd number in its
// response (IPMI v2.0, section 5.1).
type NetFn uint8

// Network functions of requests.
const (
	NetFnChassis   NetFn = 0x00
	NetFnBridge    NetFn = 0x02
	NetFnSensor    NetFn = 0x04
	NetFnApp       NetFn = 0x06
	NetFnFirmware  NetFn = 0x08
	NetFnStorage   NetFn = 0x0A
	NetFnTransport NetFn = 0x0C
	NetFnGroup     NetFn = 0x2C // data begins with a body code, one byte
	NetFnOEM       NetFn = 0x2E // data begins with an IANA number, three bytes, LSB first

	// MaxNetFn is the largest six-bit network function.
	MaxNetFn NetFn = 0x3F
)

// IsResponse reports whether n is the network function of a response.
func (n NetFn) IsResponse() bool { return n&1 == 1 }

// Response is the network function of the response to a request with n.
func (n NetFn) Response() NetFn { return n | 1 }

// Request is the network function of the request that n answers or is.
func (n NetFn) Request() NetFn { return n &^ 1 }

// Command is a command number within a network function.
type Command uint8

// LUN is a logical unit number, 0 to 3.
type LUN uint8

const (
	// MaxLUN is the largest two-bit LUN.
	MaxLUN LUN = 3
	// SMSLUN is the BMC's LUN for messages to system management software (IPMI v2.0, section 7.2).
	SMSLUN LUN = 2
)

// Address is a slave address in its 8-bit form: bit 0 is zero.
type Address uint8

// BMCAddress is the BMC's address on a bus (IPMB v1.0, section 3.1).
const BMCAddress Address = 0x20

// String is the address in hex: "20h".
func (a Address) String() string { return fmt.Sprintf("%02Xh", uint8(a)) }

// IsSlave reports whether a can be the address of a node on an I2C bus: even and not the general
// call address.
func (a Address) IsSlave() bool { return a&1 == 0 && a != 0 }

// Channel is an IPMI channel number: 0 is the primary IPMB, 15 the system interface (IPMI v2.0,
// section 6.3).
type Channel uint8

// Channel numbers with a fixed meaning.
const (
	ChannelPrimaryIPMB     Channel = 0x0
	ChannelMaxImplemented  Channel = 0xB // 1 to 11 are the implementation's
	ChannelCurrent         Channel = 0xE // "the channel this came in on"
	ChannelSystemInterface Channel = 0xF
)

// ChannelMask is a set of channels, bit n for channel n.
type ChannelMask uint32

// AllChannels is every channel.
const AllChannels ChannelMask = 0xFFFF_FFFF

// Mask is the set that holds c alone.
func (c Channel) Mask() ChannelMask { return 1 << (c & 0x1F) }

// Has reports whether c is in the set.
func (m ChannelMask) Has(c Channel) bool { return m&c.Mask() != 0 }

// Request is a request that an interface has received.
type Request struct {
	// Interface is the name of the bus or host interface on which the request came. Queues, flags
	// and the watchdog belong to an interface.
	Interface string
	Channel   Channel // the IPMI channel number of that interface
	Host      int     // the index of the host to which the interface belongs (devIndex)

	Requester    Address // 0 on a system interface
	RequesterLUN LUN
	Sequence     uint8 // the requester's sequence number, for handlers that pass the message on as it came

	NetFn   NetFn
	LUN     LUN // the responder's LUN
	Command Command
	Data    []byte

	// Deadline is the time at which the owner of the request answers it itself, with ErrTooSlow.
	// The zero time means no deadline. A handler need not watch it.
	Deadline time.Time
}

// Response is the response to a Request. A completion code other than CodeOK is a result, not an
// error.
type Response struct {
	Code CompletionCode
	Data []byte
}

// Attention is the state of SMS_ATN, by which a host interface shows the host that messages wait.
type Attention struct {
	Raised     bool // messages wait
	Interrupt  bool // and the host wants an interrupt for them
	Interrupts bool // the host wants interrupts at all
}
