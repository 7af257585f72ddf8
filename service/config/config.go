// Package config is the configuration of the daemon: it reads a file, reports its faults, and
// gives each entry its defaults. Nothing runs here and no device is opened.
//
// The tag of a Go field has the key of the file that fills the field:
//
//	conf:"KEY"            the key; "KEY,required" must be there; ",inline" is a struct whose
//	                      keys belong to the object around it
//	range:"LOW..HIGH"     bounds of a number, in milliseconds for a time.Duration
//	default:"VALUE"       what the zero value stands for
//	format:"NAME"         what a string must look like; see formats
//
// The documents and the JSON schema describe a key by the comment of its field; a field without a
// comment shares the comment of the field before it. A test makes the lists of keys in
// docs/configuration.md and the schema in packaging from them.
package config

import (
	"strconv"
	"time"

	"ipmbd/bmc"
	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// Config is what the daemon serves. The zero value of every field is its default.
type Config struct {
	// Place of the JSON schema, for editors. ipmbd ignores it.
	_ struct{} `conf:"$schema"`
	// Buses, a list of objects.
	Channels []Channel `conf:"channels"`
	// Host interfaces, and buses behind Linux's IPMI driver, a list of objects.
	Hosts    []Host `conf:"hosts"`
	OpenIPMI []OpenIPMI
	// The built-in BMC, an object.
	BMC BMC `conf:"bmc"`
	// Commands that are refused, a list of objects. All entries apply together.
	Filters []CommandFilter `conf:"policy"`
	// Calls that one connection to the message bus, or requests that one client of the frame
	// socket, may have in progress. All connections of one process to the message bus may
	// together have half of the `max-calls` of all buses, or this number if it is larger.
	MaxCallsPerSender int `conf:"max-calls-per-sender" range:"1..4096" default:"128"`
	// Path of the frame socket. Without the key there is one only if systemd has passed
	// `/run/ipmbd/ipmb.sock`.
	FrameSocket string `conf:"frame-socket" format:"socket path"`
	// D-Bus names whose owners may send the signals `sendBroadcast` and `updateBmcSlaveAddr`, as
	// root may.
	TrustedNames []string `conf:"trusted-names" format:"bus name"`
	// OfIPMBBridge: the file is ipmbbridge's. Hence the kernel device of a channel is made at
	// BMCAddress where it is missing, and one whose driver is not known is taken for ipmb-dev,
	// the only one that ipmbbridge can use.
	OfIPMBBridge bool
	// Found: there is no file. ipmbd serves each IPMB device that it finds, and no host interface.
	Found bool
}

// Channel is one bus.
type Channel struct {
	// Kind of the bus, as in ipmbbridge's file: `ipmb`, or `me` for Intel's management engine.
	Type ChannelType `conf:"type" default:"ipmb"`
	// Device (`/dev/ipmb-4`), attribute of `slave-mqueue`
	// (`/sys/bus/i2c/devices/4-1010/slave-mqueue`, where 10h is `bmc-addr` in 7 bits) or
	// SOCK_SEQPACKET socket.
	SlavePath string `conf:"slave-path,required" format:"path"`
	// Address of ipmbd itself in its 8-bit form: a number, or a string such as `"0x20"` or
	// `"20h"`.
	BMCAddress ipmi.Address `conf:"bmc-addr" default:"32"`
	// Address of the responder for `org.openbmc.Ipmb`, and for requests to address 0. Without it
	// both are refused.
	RemoteAddress ipmi.Address `conf:"remote-addr"`
	// Number of the host that the bus belongs to. Together with the type it makes the index of
	// the channel.
	DevIndex int `conf:"devIndex" range:"0..63" default:"0"`

	// Last part of the object path. By default it is `bus` and the digits behind the first `-` of
	// `slave-path`: `bus4` for `/dev/ipmb-4`.
	Name string `conf:"name" format:"object word"`
	// Driver or kind of the device: `ipmb-dev`, `ipmb-device`, `slave-mqueue`, `seqpacket`. With
	// `auto` ipmbd asks sysfs for the driver when it opens the device.
	Transport TransportKind `conf:"transport" default:"auto"`
	// For the driver `ipmb-device` only: whether a frame is sent to its end even if no node
	// acknowledges it. With the transport `auto` a bus with another driver is `Degraded`.
	IgnoreNACK bool `conf:"ignore-nack" default:"false"`
	// As `ignore-nack`, for the same driver: whether it drops frames with a wrong header checksum, and
	// refuses them where it can.
	VerifyChecksum bool `conf:"verify-header-checksum" default:"false"`
	// IPMI channel number. The default is 0 for `ipmb` and 1 for `me`.
	IPMIChannel *ipmi.Channel `conf:"ipmi-channel" range:"0..11"`
	// Last word of the D-Bus name by which the host IPMI daemon finds the channel.
	BusName string `conf:"bus-name" format:"bus word" default:"Ipmb"`

	// Time after which a request is sent again, in milliseconds.
	Timeout time.Duration `conf:"timeout-ms" range:"10..60000" default:"250"`
	// How often a request is sent at most.
	Tries int `conf:"tries" range:"1..64" default:"6"`
	// Time for which a response is kept for repeats of its request, in milliseconds; 0 keeps
	// none. A command that changes nothing is served again instead.
	DuplicateWindow time.Duration `conf:"duplicate-window-ms" range:"0..60000" default:"5000"` // negative keeps none
	// Time that the handler of a request has, in milliseconds. After it the requester gets C3h.
	HandlerTimeout time.Duration `conf:"handler-timeout-ms" range:"1..60000" default:"5000"`
	// What serves requests that no program is registered for: `host` (the host IPMI daemon),
	// `bmc` (the built-in BMC), `signal` (the program that responds to `ReceivedMessage`) or
	// `none`.
	Handler HandlerKind `conf:"handler" default:"host"`
	// Whether Send Message and the commands that belong to it are served on the channel. With the
	// handler `bmc` they always are.
	Bridge bool `conf:"bridge" default:"false"`

	// Bytes of the longest frame, including its first address. The default is the limit of the
	// transport.
	MaxFrame int `conf:"max-frame" range:"32..1024"`
	// Calls in progress on the bus, from D-Bus and the frame socket together; more are refused.
	// One process may have half of them, and so may all processes of one user other than root
	// together.
	MaxCalls int `conf:"max-calls" range:"1..4096" default:"256"`
	// Requests from the bus in progress; more get C0h.
	MaxHandlers int `conf:"max-handlers" range:"1..4096" default:"64"`

	// Found: ipmbd has found the device, see [FoundChannel].
	Found bool
}

// FoundChannel is the channel of a device that no configuration names. Its index is the number of
// the I2C bus, times 4, and its own address is the one at which the kernel has the device.
func FoundChannel(device string) Channel { return Channel{SlavePath: device, Found: true} }

// CommandFilter refuses commands on some interfaces. A request that it refuses gets D4h and
// reaches no handler.
type CommandFilter struct {
	// Names of the channels and hosts. By default the entry applies to all.
	Channels []string `conf:"channels"`
	// The only commands that are served; each is a netFn, or a netFn and a command, such as
	// `chassis` or `app cold-reset`.
	Allow []ipmi.Commands `conf:"allow"`
	// Commands that are refused, written in the same way.
	Deny []ipmi.Commands `conf:"deny"`
}

// BMC is the built-in BMC: its identity, its state and its sensors.
type BMC struct {
	// Folder in which the BMC keeps its state. Without it the BMC forgets everything when ipmbd
	// ends. The unit allows `/var/lib/ipmbd` only.
	Folder string `conf:"folder" format:"path"`
	// GUID of the device and the system, such as `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`. By
	// default it is a random one, which `folder` keeps.
	GUID GUID `conf:"guid"`
	// The response to Get Device ID, an object.
	Identity bmc.Identity `conf:"identity"`
	// Records that the event log holds. A full log refuses more (C4h) and says so.
	LogCapacity int `conf:"log-capacity" range:"1..32768" default:"4096"`
	// Sensors, a list of objects.
	Sensors []Sensor `conf:"sensors"`
	// FRU inventory devices, a list of objects.
	FRUs []bmc.FRUConfig `conf:"frus"`
	// Controllers that the SDR repository names, a list of objects. It always names the BMC
	// itself, address 20h on IPMI channel 0; an entry can give that another name and entity.
	Controllers []bmc.Controller `conf:"controllers"`
}

// GUID is a GUID in the order of the wire. Zero means that there is none.
type GUID [16]byte

// Sensor is a sensor, whose value may be a property on D-Bus.
type Sensor struct {
	bmc.SensorConfig `conf:",inline"`
	// Property of another service that is the value, an object.
	Property Property `conf:"dbus"`
}

// Property names a property of an object on the message bus, a number or a boolean.
type Property struct {
	// Well-known name of the service.
	Service string `conf:"service,required" format:"bus name"`
	// Path of the object.
	Path string `conf:"path,required" format:"object path"`
	// Interface of the property.
	Interface string `conf:"interface,required" format:"bus name"`
	// Name of the property.
	Property string `conf:"property,required"`
}

// Defaults and bounds of a configuration.
const (
	DefaultBusName     = "Ipmb"
	DefaultFrameSocket = "/run/ipmbd/ipmb.sock"

	// MaxDevIndex is the largest devIndex whose index fits a byte.
	MaxDevIndex = 0xFF >> 2
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

// HandlerKind says what serves the requests that no program is registered for.
type HandlerKind uint8

// Kinds of handler.
const (
	HandlerHost   HandlerKind = iota // the host IPMI daemon on D-Bus
	HandlerBMC                       // the built-in BMC
	HandlerSignal                    // a program that responds to the signal ReceivedMessage
	HandlerNone                      // nothing: invalid command
)

// choice is a type whose values are words in a file. A word's place is its constant.
type choice interface{ words() []string }

func (ChannelType) words() []string { return []string{"ipmb", "me"} }
func (TransportKind) words() []string {
	return []string{"auto", i2c.IPMBDev, i2c.IPMBDevice, i2c.SlaveMqueue, i2c.Seqpacket}
}
func (HandlerKind) words() []string { return []string{"host", "bmc", "signal", "none"} }

// String is the word that a file uses.
func (t ChannelType) String() string { return word(t, int(t)) }

// String is the word that a file uses.
func (k TransportKind) String() string { return word(k, int(k)) }

// String is the word that a file uses.
func (k HandlerKind) String() string { return word(k, int(k)) }

func word(c choice, i int) string {
	if words := c.words(); i < len(words) {
		return words[i]
	}
	return "unknown"
}

// Entry is an entry of the lists "channels" and "hosts": a [Channel], a [Host] or an [OpenIPMI],
// with its defaults.
type Entry interface {
	// Title is the name of the entry in messages: "channel bus5", "host ipmi_kcs3".
	Title() string
	// wants is what it needs for itself.
	wants() []want
}

// Entries returns all entries of a configuration: channels, hosts, OpenIPMI devices.
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

// WithDefaults returns c with all defaults of this package filled in; fields whose default another
// package knows stay zero.
func (c Config) WithDefaults() Config {
	c.Channels = withDefaults(c.Channels)
	c.Hosts = withDefaults(c.Hosts)
	c.OpenIPMI = withDefaults(c.OpenIPMI)
	return c
}

func withDefaults[E interface{ WithDefaults() E }](list []E) []E {
	full := make([]E, len(list))
	for i, e := range list {
		full[i] = e.WithDefaults()
	}
	return full
}

// maxNumber is how many digits of a bus number are taken for a name.
const maxNumber = 20

// WithDefaults is as [Config.WithDefaults]. Name stays empty when SlavePath holds no number.
func (c Channel) WithDefaults() Channel {
	if c.BMCAddress == 0 {
		c.BMCAddress = ipmi.BMCAddress
	}
	if n := bus.Number(c.SlavePath); c.Name == "" && n != "" && len(n) <= maxNumber {
		c.Name = "bus" + n
	}
	if c.IPMIChannel == nil {
		c.IPMIChannel = new(ipmi.Channel(c.Type))
	}
	if c.BusName == "" {
		c.BusName = DefaultBusName
	}
	return c
}

// Index is the channel's number in org.openbmc.Ipmb, or bus.NoIndex.
func (c Channel) Index() uint8 {
	if !c.Found {
		return uint8(c.DevIndex<<2) | uint8(c.Type)
	}
	number, err := strconv.Atoi(bus.Number(c.SlavePath))
	if err != nil || number > MaxDevIndex {
		return bus.NoIndex
	}
	return uint8(number << 2)
}

// Title implements [Entry].
func (c Channel) Title() string { return "channel " + c.WithDefaults().Name }

// Bridged reports whether Send Message is served on the channel.
func (c Channel) Bridged() bool { return c.Bridge || c.Handler == HandlerBMC }

// Switches are the switches for the driver of TransportIPMBDevice.
func (c Channel) Switches() i2c.Switches {
	return i2c.Switches{IgnoreNACK: c.IgnoreNACK, VerifyChecksum: c.VerifyChecksum}
}
