package config

import (
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// Config is what the daemon serves. The zero value of every field is its
// default; [Config.Validate] says what is wrong with one. The key of the
// configuration file stands beside each field.
type Config struct {
	Channels []Channel  // channels
	Hosts    []Host     // hosts
	OpenIPMI []OpenIPMI // hosts whose type is openipmi
	BMC      BMC        // bmc
	// MaxCallsPerSender is how many calls one D-Bus connection, and requests one
	// client of the frame socket, may have in flight; dbusapi.Config and
	// frames.Config have the default.
	MaxCallsPerSender int // max-calls-per-sender
	// FrameSocket is the path of the frame socket. Empty is [DefaultFrameSocket] if
	// systemd has passed that, and else none.
	FrameSocket string // frame-socket
	// TrustedNames are well-known D-Bus names whose owners' signals are obeyed
	// beside those of uid 0.
	TrustedNames []string // trusted-names
	// Policy is which commands are denied; the entries all count.
	Policy []CommandFilter // policy
	// OfIPMBBridge: the file is ipmbbridge's. Hence the kernel device of a channel
	// is made at BMCAddress where it is missing, and one whose driver is not known
	// is taken for ipmb-dev, the only one that ipmbbridge can use.
	OfIPMBBridge bool
}

// Channel is one bus.
type Channel struct {
	Type ChannelType // type
	// SlavePath is the character device, the driver's attribute in sysfs or the
	// socket, an absolute path. It has no default.
	SlavePath string // slave-path
	// BMCAddress is our own address. 0 is 20h.
	BMCAddress ipmi.Address // bmc-addr
	// RemoteAddress is the responder of calls that name none. It has no
	// default.
	RemoteAddress ipmi.Address // remote-addr
	// DevIndex tells hosts apart: 0 to [MaxDevIndex].
	DevIndex int // devIndex

	// Name is the last part of the object path. Empty is "bus" and the number of the I2C
	// bus in SlavePath; see bus.Number.
	Name      string        // name
	Transport TransportKind // transport
	// IgnoreNACK and VerifyChecksum are the switches of TransportIPMBDevice; see
	// i2c.Switches.
	IgnoreNACK     bool // ignore-nack
	VerifyChecksum bool // verify-header-checksum
	// IPMIChannel is the IPMI channel number, 0 to 11. Nil is 0 for TypeIPMB
	// and 1 for TypeME.
	IPMIChannel *ipmi.Channel // ipmi-channel
	// BusName is the last word of the D-Bus name under which the host IPMI
	// daemon finds the channel. Empty is [DefaultBusName].
	BusName string // bus-name

	// Timeout and Tries are the policy of calls that bring none; see
	// ipmb.RetryPolicy for the defaults.
	Timeout time.Duration // timeout-ms
	Tries   int           // tries
	// DuplicateWindow is how long an answer is kept for a repeated request. 0
	// is 5 s; negative keeps none, which a file writes as 0.
	DuplicateWindow time.Duration // duplicate-window-ms
	// HandlerTimeout is how long the handler has for a request. 0 is 5 s.
	HandlerTimeout time.Duration // handler-timeout-ms
	Handler        HandlerKind   // handler
	// Bridge: Send Message and what belongs to it are served on the channel, and
	// not by its handler. HandlerBMC implies it.
	Bridge bool // bridge

	// MaxFrame limits frames, in bytes, the destination address included. 0
	// leaves it to the transport.
	MaxFrame int // max-frame
	// MaxCalls is how many calls of clients may be in flight;
	// dbusapi.Config has the default.
	MaxCalls int // max-calls
	// MaxHandlers is how many requests may be in handlers at a time. 0 is 64.
	MaxHandlers int // max-handlers
}

// Defaults and bounds of a configuration.
const (
	DefaultAddress     = ipmi.BMCAddress
	DefaultBusName     = "Ipmb"
	DefaultFrameSocket = "/run/ipmbd/ipmb.sock"

	// MaxDevIndex is the largest devIndex whose index fits a byte.
	MaxDevIndex = 0xFF >> 2
	// MinMaxFrame is what IPMB v1.0 asks every node to carry.
	MinMaxFrame = 32
	// MaxMaxFrame is beyond any driver; it guards against nonsense.
	MaxMaxFrame = 1024
	// MaxLimit bounds every count of calls and handlers.
	MaxLimit = 4096
	// MaxWindow bounds the duplicate window and the handler's time.
	MaxWindow = time.Minute
)

// ChannelType is the low two bits of an index, as ipmbbridge has it.
type ChannelType uint8

// Types of channels.
const (
	TypeIPMB ChannelType = 0
	TypeME   ChannelType = 1 // to Intel's management engine
)

// TransportKind says how frames reach the bus.
type TransportKind uint8

// Kinds of transport.
const (
	TransportAuto        TransportKind = iota // by what is at SlavePath
	TransportIPMBDev                          // Linux's ipmb-dev-int
	TransportIPMBDevice                       // the raw driver ipmb-device
	TransportSlaveMqueue                      // OpenBMC's i2c-slave-mqueue, and i2c-dev
	TransportSeqPacket                        // a SOCK_SEQPACKET socket, one frame a packet
)

// HandlerKind says who answers the requests that come from the bus.
type HandlerKind uint8

// Kinds of handler.
const (
	HandlerHost   HandlerKind = iota // the host IPMI daemon on D-Bus
	HandlerBMC                       // the built-in BMC
	HandlerSignal                    // whoever answers the ReceivedMessage signal
	HandlerNone                      // nobody: invalid command
)

// The words of a file; a word's place is its constant.
var (
	channelTypes   = []string{"ipmb", "me"}
	transportKinds = []string{"auto", i2c.IPMBDev, i2c.IPMBDevice, i2c.SlaveMqueue, i2c.Seqpacket}
	handlerKinds   = []string{"host", "bmc", "signal", "none"}
)

// String is the word that a file uses.
func (t ChannelType) String() string { return word(channelTypes, int(t)) }

// String is the word that a file uses.
func (k TransportKind) String() string { return word(transportKinds, int(k)) }

// String is the word that a file uses.
func (k HandlerKind) String() string { return word(handlerKinds, int(k)) }

func word(words []string, i int) string {
	if i >= len(words) {
		return "unknown"
	}
	return words[i]
}

// WithDefaults is c with everything filled in that has a default of this
// package; what other packages default stays zero.
func (c Config) WithDefaults() Config {
	channels := make([]Channel, len(c.Channels))
	for i, ch := range c.Channels {
		channels[i] = ch.WithDefaults()
	}
	c.Channels = channels
	hosts := make([]Host, len(c.Hosts))
	for i, h := range c.Hosts {
		hosts[i] = h.WithDefaults()
	}
	c.Hosts = hosts
	drivers := make([]OpenIPMI, len(c.OpenIPMI))
	for i, o := range c.OpenIPMI {
		drivers[i] = o.WithDefaults()
	}
	c.OpenIPMI = drivers
	return c
}

// Entry is an entry of the lists "channels" and "hosts": a [Channel], a [Host] or an
// [OpenIPMI], with its defaults.
type Entry interface {
	// Title is what people call it: "channel bus5", "host ipmi_kcs3".
	Title() string
	// wants is what it lays claim to. Each want has a key below key; what hangs on a key
	// with a fault is left out.
	wants(key string, faults []Fault) []want
}

// Entries are all entries of a configuration: channels, hosts, OpenIPMI devices.
func (c Config) Entries() []Entry {
	var all []Entry
	for _, ch := range c.Channels {
		all = append(all, ch)
	}
	for _, h := range c.Hosts {
		all = append(all, h)
	}
	for _, o := range c.OpenIPMI {
		all = append(all, o)
	}
	return all
}

// WithDefaults is as [Config.WithDefaults]. Name stays empty when SlavePath
// holds no number.
func (c Channel) WithDefaults() Channel {
	if c.BMCAddress == 0 {
		c.BMCAddress = DefaultAddress
	}
	if number := bus.Number(c.SlavePath); c.Name == "" && number != "" {
		c.Name = "bus" + number
	}
	if c.IPMIChannel == nil {
		c.IPMIChannel = new(ipmi.Channel(c.Type))
	}
	if c.BusName == "" {
		c.BusName = DefaultBusName
	}
	return c
}

// Index is the channel's number in org.openbmc.Ipmb.
func (c Channel) Index() uint8 { return uint8(c.DevIndex<<2) | uint8(c.Type) }

// Title implements [Entry].
func (c Channel) Title() string { return "channel " + c.WithDefaults().Name }

// Bridged reports whether Send Message is served on the channel.
func (c Channel) Bridged() bool { return c.Bridge || c.Handler == HandlerBMC }

// Switches are what the driver of TransportIPMBDevice is told.
func (c Channel) Switches() i2c.Switches {
	return i2c.Switches{IgnoreNACK: c.IgnoreNACK, VerifyChecksum: c.VerifyChecksum}
}
