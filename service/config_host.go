package service

import (
	"path/filepath"
	"strings"

	"ipmbd/host"
	"ipmbd/ipmi"
)

// HostConfig is a system interface of a host.
type HostConfig struct {
	Type HostType // type
	// Name is the last part of the object path and of the bus name by which the host
	// IPMI daemon finds the channel. Empty is that of kcsbridge and ssifbridge: the
	// last part of a device's path, "-" replaced by "_", and "ipmi_ssif" for
	// HostSSIF.
	Name string // name
	// Path is the device or, for HostVM, where QEMU connects, as host.Listen takes
	// it. It has no default.
	Path string // path
	// DevIndex tells hosts apart, as that of a channel does: buses with the same
	// one are this host's.
	DevIndex int // devIndex
	// IPMIChannel is the IPMI channel number. Nil is 15; for HostOpenIPMI, where both
	// are 0, it is that of the IPMB behind the driver.
	IPMIChannel *ipmi.Channel // ipmi-channel
	// Handler answers what nobody is registered for. Nil is HandlerBMC for HostVM,
	// HandlerNone for HostOpenIPMI and HandlerHost for others; HandlerSignal is for
	// buses only, of which HostOpenIPMI is one.
	Handler *HandlerKind // handler
	// Bridge is as that of a channel.
	Bridge bool // bridge
	// LegacyAPI has what nobody is registered for answered by way of
	// org.openbmc.HostIpmi, as btbridge does, instead of by execute of the host
	// daemon. It is for one HostBT with HandlerHost.
	LegacyAPI bool // legacy-api
	// Commands are those that the handler of HostOpenIPMI answers, beside what programs
	// have registered: the driver passes on only what it is asked for, each by itself.
	// They are written as in a policy; a netFn is all of its commands.
	Commands []ipmi.Commands // commands
}

// HostType is the kind of a system interface.
type HostType uint8

// Types of system interfaces.
const (
	HostVM   HostType = iota // QEMU's ipmi-bmc-extern
	HostKCS                  // Linux's kcs_bmc_cdev_ipmi
	HostBT                   // Linux's bt-bmc
	HostSSIF                 // Linux's ssif_bmc

	HostOpenIPMI // the other side: a controller behind Linux's ipmi_devintf, which is a bus to us
)

// hostTypes are the words of a file; a word's place is its constant.
var hostTypes = []string{"vm", "kcs", "bt", "ssif", openIPMIName}

// String is the word that a file uses.
func (t HostType) String() string { return word(hostTypes, int(t)) }

// WithDefaults is as [Config.WithDefaults].
func (c HostConfig) WithDefaults() HostConfig {
	if c.IPMIChannel == nil {
		c.IPMIChannel = new(ipmi.ChannelSystemInterface)
	}
	if c.Type == HostOpenIPMI && *c.IPMIChannel == ipmi.ChannelSystemInterface {
		c.IPMIChannel = new(ipmi.ChannelPrimaryIPMB)
	}
	if c.Handler == nil {
		c.Handler = new(HandlerHost)
		switch c.Type {
		case HostVM:
			c.Handler = new(HandlerBMC)
		case HostOpenIPMI:
			c.Handler = new(HandlerNone)
		}
	}
	switch {
	case c.Name != "" || c.Type == HostVM || c.Path == "":
	case c.Type == HostSSIF:
		c.Name = "ipmi_ssif"
	default:
		c.Name = strings.ReplaceAll(filepath.Base(c.Path), "-", "_")
	}
	return c
}

// word is the last part of object path and bus name.
func (c HostConfig) word() string { return strings.ReplaceAll(c.WithDefaults().Name, "-", "_") }

// bridged reports whether Send Message is served on the interface.
func (c HostConfig) bridged() bool {
	return c.Type != HostOpenIPMI && (c.Bridge || *c.WithDefaults().Handler == HandlerBMC)
}

// hostKeys are the keys of one host.
var hostKeys = setters[HostConfig]{
	"type": func(r *reader, n node, key string, c *HostConfig) { choose(r, n, key, hostTypes, &c.Type) },
	"name": func(r *reader, n node, key string, c *HostConfig) { r.text(n, key, &c.Name) },
	"path": func(r *reader, n node, key string, c *HostConfig) { r.text(n, key, &c.Path) },
	"devIndex": func(r *reader, n node, key string, c *HostConfig) {
		r.integer(n, key, 0, MaxDevIndex, &c.DevIndex)
	},
	"ipmi-channel": func(r *reader, n node, key string, c *HostConfig) { r.channel(n, key, &c.IPMIChannel) },
	"handler": func(r *reader, n node, key string, c *HostConfig) {
		c.Handler = new(HandlerKind)
		choose(r, n, key, handlerKinds, c.Handler)
	},
	"bridge":     func(r *reader, n node, key string, c *HostConfig) { r.boolean(n, key, &c.Bridge) },
	"commands":   func(r *reader, n node, key string, c *HostConfig) { r.commands(n, key, &c.Commands) },
	"legacy-api": func(r *reader, n node, key string, c *HostConfig) { r.boolean(n, key, &c.LegacyAPI) },
}

// hostFaults is what is wrong with the hosts, among the channels.
func (c Config) hostFaults() []Fault {
	var faults []Fault
	taken := claims{}
	for _, ch := range c.Channels {
		taken.add(ch.wants("", nil), ch.title())
	}
	for i, h := range c.Hosts {
		key := item("hosts", i)
		wants := h.wants(key)
		faults = append(append(faults, h.faults(key)...), taken.clashes(wants)...)
		taken.add(wants, key)
	}
	return faults
}

// faults is what is wrong with the host for itself; key is its own.
func (c HostConfig) faults(key string) []Fault {
	check := checker{prefix: key + "."}
	check.host(c.WithDefaults())
	return check.faults
}

func (c *checker) host(h HostConfig) {
	c.that(h.Type <= HostOpenIPMI, "type", h.Type, wanted(hostTypes))
	switch h.Name {
	case "":
		c.that(false, "name", "", "is missing")
	default:
		c.that(isBusWord(h.Name) && len(h.Name) <= maxWord && h.Name != reservedName && h.Name != DefaultBusName, "name", h.Name,
			"must be letters, digits and '_', at most 64, not beginning with a digit, and not "+reservedName+" or "+DefaultBusName)
	}
	if h.Type != HostVM {
		c.path("path", h.Path)
	} else if h.Path == "" {
		c.that(false, "path", "", "is missing")
	} else if _, _, err := host.ParseAddress(h.Path); err != nil {
		c.that(false, "path", h.Path, err.Error())
	}
	if h.Type == HostOpenIPMI {
		c.openIPMI(h)
		return
	}
	c.that(len(h.Commands) == 0, "commands", someOf(h.Commands), "is for hosts of type openipmi only")
	channel := *h.IPMIChannel
	c.that(channel <= ipmi.ChannelMaxImplemented || channel == ipmi.ChannelSystemInterface, "ipmi-channel", int(channel), "must be from 0 to 11, or 15")
	c.that(*h.Handler <= HandlerNone && *h.Handler != HandlerSignal, "handler", *h.Handler, "must be one of host, bmc, none")
	c.within("devIndex", h.DevIndex, 0, MaxDevIndex)
	if h.LegacyAPI {
		c.that(h.Type == HostBT, "legacy-api", h.LegacyAPI, "is for hosts of type bt only")
		c.that(h.Type != HostBT || *h.Handler == HandlerHost, "legacy-api", h.LegacyAPI, "needs the handler host")
	}
}

// typeOpenIPMI is the type in the index of a HostOpenIPMI, which no channel of
// ipmbbridge's has.
const typeOpenIPMI ChannelType = 2

// bus is the bus that a HostOpenIPMI with defaults is.
func (c HostConfig) bus() ChannelConfig {
	return ChannelConfig{
		Type: typeOpenIPMI, SlavePath: c.Path, DevIndex: c.DevIndex, Name: c.Name,
		IPMIChannel: c.IPMIChannel, BusName: DefaultBusName, Handler: *c.Handler,
	}
}

// openIPMI is what is wrong with a HostOpenIPMI beside what all hosts have.
func (c *checker) openIPMI(h HostConfig) {
	channel := *h.IPMIChannel
	c.that(channel <= ipmi.ChannelMaxImplemented, "ipmi-channel", int(channel), "must be from 0 to 11, or 15 for 0")
	c.that(*h.Handler <= HandlerNone, "handler", *h.Handler, wanted(handlerKinds))
	c.that(*h.Handler == HandlerNone || len(h.Commands) > 0, "commands", "",
		"is missing: the driver passes on to the handler only what is named here")
	c.within("devIndex", h.DevIndex, 0, MaxDevIndex)
	c.that(!h.Bridge, "bridge", h.Bridge, "is not for hosts of type openipmi")
	c.that(!h.LegacyAPI, "legacy-api", h.LegacyAPI, "is for hosts of type bt only")
}
