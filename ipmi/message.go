package ipmi

import (
	"fmt"
	"time"
)

// NetFn is a network function code, 0 to 3Fh: even in a request, the next odd
// number in its response (IPMI v2.0, section 5.1).
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
	// SMSLUN is the BMC's LUN for messages to system management software (IPMI v2.0,
	// section 7.2).
	SMSLUN LUN = 2
)

// Address is a slave address in its 8-bit form: bit 0 is zero.
type Address uint8

// BMCAddress is the BMC's address on a bus (IPMB v1.0, section 3.1).
const BMCAddress Address = 0x20

// String is the address as field engineers write it: "20h".
func (a Address) String() string { return fmt.Sprintf("%02Xh", uint8(a)) }

// IsSlave reports whether a can be the address of a node on an I2C bus: even
// and not the general call address.
func (a Address) IsSlave() bool { return a&1 == 0 && a != 0 }

// Channel is an IPMI channel number: 0 is the primary IPMB, 15 the system
// interface (IPMI v2.0, section 6.3).
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

// Request is a request that has come in on an interface.
type Request struct {
	// Interface names the bus or host interface it came in on; queues, flags
	// and the watchdog belong to an interface.
	Interface string
	// Channel is the IPMI channel number of that interface.
	Channel Channel
	// Host is the index of the host the interface belongs to (devIndex).
	Host int

	// Requester is the sender's address; 0 on a system interface.
	Requester Address
	// RequesterLUN is the sender's LUN.
	RequesterLUN LUN
	// Sequence is the sender's sequence number, for those who pass the message
	// on as it came.
	Sequence uint8

	NetFn   NetFn
	LUN     LUN // the responder's LUN
	Command Command
	Data    []byte

	// Deadline is when the owner of the request answers it ErrTooSlow itself; the zero
	// time is never. A handler need not watch it.
	Deadline time.Time
}

// Attention is what a host is shown of the messages that wait for it.
type Attention struct {
	Raised     bool // there are some
	Interrupt  bool // and the host wants to be interrupted for them
	Interrupts bool // the host wants interrupts at all
}

// Response is the answer to a Request. A completion code other than CodeOK is
// a result, not an error.
type Response struct {
	Code CompletionCode
	Data []byte
}
