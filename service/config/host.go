package config

import (
	"path/filepath"
	"strings"

	"ipmbd/host"
	"ipmbd/ipmi"
)

// Host is a system interface of a host.
type Host struct {
	Type HostType // type
	// Name is the last part of the object path and of the bus name by which the host
	// IPMI daemon finds the channel. Empty is the name that kcsbridge and ssifbridge use:
	// the last part of a device's path with "-" replaced by "_", and "ipmi_ssif" for
	// HostSSIF.
	Name string // name
	// Path is the device or, for HostVM, where QEMU connects, as host.Listen takes
	// it. It has no default.
	Path string // path
	// DevIndex tells hosts apart, as that of a channel does: buses with the same
	// one belong to this host.
	DevIndex int // devIndex
	// IPMIChannel is the IPMI channel number, 0 to 11 or 15. Nil is 15.
	IPMIChannel *ipmi.Channel // ipmi-channel
	// Handler answers requests that no program is registered for. Nil is HandlerBMC for
	// HostVM and HandlerHost for others. HandlerSignal is for buses only.
	Handler *HandlerKind // handler
	// Bridge is as that of a channel.
	Bridge bool // bridge
	// LegacyAPI: requests that no program is registered for go to org.openbmc.HostIpmi, as
	// with btbridge, instead of to execute of the host daemon. It is for one HostBT with
	// HandlerHost.
	LegacyAPI bool // legacy-api
}

// OpenIPMI is a controller behind Linux's IPMI driver, which is a bus to us. A file lists
// it among the hosts, with the type "openipmi".
type OpenIPMI struct {
	// Name is as that of a host.
	Name string // name
	// Path is the device of ipmi_devintf. It has no default.
	Path string // path
	// DevIndex tells hosts apart: 0 to [MaxDevIndex].
	DevIndex int // devIndex
	// IPMIChannel is the number of the IPMB behind the driver, 0 to 11. Nil is 0, and so is
	// 15.
	IPMIChannel *ipmi.Channel // ipmi-channel
	// Handler answers the Commands that no program is registered for. Nil is HandlerNone.
	Handler *HandlerKind // handler
	// Commands are those that Handler answers, beside those that programs have registered:
	// the driver passes on only the commands that it is asked for. They are written as in a
	// policy; a netFn is all of its commands.
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

	typeOpenIPMI // in a file
)

// hostTypes are the words of a file; a word's place is its constant.
var hostTypes = []string{"vm", "kcs", "bt", "ssif", "openipmi"}

// String is the word that a file uses.
func (t HostType) String() string { return word(hostTypes, int(t)) }

// hostEntry is an entry of the list "hosts", of any type.
type hostEntry struct {
	Host
	commands []ipmi.Commands
}

func (e hostEntry) entry() Entry {
	if e.Type == typeOpenIPMI {
		return e.openIPMI()
	}
	return e.Host
}

func (e hostEntry) openIPMI() OpenIPMI {
	return OpenIPMI{e.Name, e.Path, e.DevIndex, e.IPMIChannel, e.Handler, e.commands}
}

// setHosts gives c the entries of the list "hosts".
func (c *Config) setHosts(entries []hostEntry) {
	for _, e := range entries {
		if e.Type == typeOpenIPMI {
			c.OpenIPMI = append(c.OpenIPMI, e.openIPMI())
		} else {
			c.Hosts = append(c.Hosts, e.Host)
		}
	}
}

// hostEntries are the entries of a list "hosts" that holds the hosts and OpenIPMI devices.
func (c Config) hostEntries() []hostEntry {
	var entries []hostEntry
	for _, h := range c.Hosts {
		entries = append(entries, hostEntry{Host: h})
	}
	for _, o := range c.OpenIPMI {
		h := Host{Type: typeOpenIPMI, Name: o.Name, Path: o.Path, DevIndex: o.DevIndex, IPMIChannel: o.IPMIChannel, Handler: o.Handler}
		entries = append(entries, hostEntry{h, o.Commands})
	}
	return entries
}

// WithDefaults is as [Config.WithDefaults].
func (c Host) WithDefaults() Host {
	if c.IPMIChannel == nil {
		c.IPMIChannel = new(ipmi.ChannelSystemInterface)
	}
	if c.Handler == nil && c.Type == HostVM {
		c.Handler = new(HandlerBMC)
	} else if c.Handler == nil {
		c.Handler = new(HandlerHost)
	}
	switch {
	case c.Name != "" || c.Type == HostVM:
	case c.Type == HostSSIF && c.Path != "":
		c.Name = "ipmi_ssif"
	default:
		c.Name = deviceName(c.Path)
	}
	return c
}

// WithDefaults is as [Config.WithDefaults].
func (c OpenIPMI) WithDefaults() OpenIPMI {
	if c.IPMIChannel == nil || *c.IPMIChannel == ipmi.ChannelSystemInterface {
		c.IPMIChannel = new(ipmi.ChannelPrimaryIPMB)
	}
	if c.Handler == nil {
		c.Handler = new(HandlerNone)
	}
	if c.Name == "" {
		c.Name = deviceName(c.Path)
	}
	return c
}

// deviceName is the default name of the device at a path, empty if there is no path.
func deviceName(path string) string {
	if path == "" {
		return ""
	}
	return strings.ReplaceAll(filepath.Base(path), "-", "_")
}

// Index is the bus's number in org.openbmc.Ipmb. Its type, 2, is that of no channel of
// ipmbbridge.
func (c OpenIPMI) Index() uint8 { return uint8(c.DevIndex<<2) | 2 }

// Title implements [Entry].
func (c Host) Title() string { return "host " + c.WithDefaults().Name }

// Title implements [Entry].
func (c OpenIPMI) Title() string { return "host " + c.WithDefaults().Name }

// Word is the last part of object path and bus name.
func (c Host) Word() string { return strings.ReplaceAll(c.WithDefaults().Name, "-", "_") }

// Bridged reports whether Send Message is served on the interface.
func (c Host) Bridged() bool { return c.Bridge || *c.WithDefaults().Handler == HandlerBMC }

// hostKeys are the keys of one host.
var hostKeys = setters[hostEntry]{
	"type": func(r *reader, n node, key string, c *hostEntry) { choose(r, n, key, hostTypes, &c.Type) },
	"name": func(r *reader, n node, key string, c *hostEntry) { r.text(n, key, &c.Name) },
	"path": func(r *reader, n node, key string, c *hostEntry) { r.text(n, key, &c.Path) },
	"devIndex": func(r *reader, n node, key string, c *hostEntry) {
		r.integer(n, key, 0, MaxDevIndex, &c.DevIndex)
	},
	"ipmi-channel": func(r *reader, n node, key string, c *hostEntry) { r.channel(n, key, &c.IPMIChannel) },
	"handler": func(r *reader, n node, key string, c *hostEntry) {
		c.Handler = new(HandlerKind)
		choose(r, n, key, handlerKinds, c.Handler)
	},
	"bridge":     func(r *reader, n node, key string, c *hostEntry) { r.boolean(n, key, &c.Bridge) },
	"commands":   func(r *reader, n node, key string, c *hostEntry) { r.commands(n, key, &c.commands) },
	"legacy-api": func(r *reader, n node, key string, c *hostEntry) { r.boolean(n, key, &c.LegacyAPI) },
}

// hostFaults is what is wrong with the entries of the list "hosts", among the channels.
func (c Config) hostFaults(entries []hostEntry) []Fault {
	var faults []Fault
	taken := claims{}
	for _, ch := range c.Channels {
		taken.add(ch.wants("", nil), ch.Title())
	}
	for i, e := range entries {
		key := item("hosts", i)
		wants := e.entry().wants(key, nil)
		faults = append(append(faults, e.faults(key)...), taken.clashes(wants)...)
		taken.add(wants, key)
	}
	return faults
}

// faults is what is wrong with the entry for itself; key is its own.
func (e hostEntry) faults(key string) []Fault {
	check := checker{prefix: key + "."}
	check.that(e.Type <= typeOpenIPMI, "type", e.Type, wanted(hostTypes))
	if e.Type == typeOpenIPMI {
		check.that(!e.Bridge, "bridge", e.Bridge, "is not for hosts of type openipmi")
		check.openIPMI(e.openIPMI().WithDefaults())
	} else {
		check.that(len(e.commands) == 0, "commands", "", "is for hosts of type openipmi only")
		check.host(e.Host.WithDefaults())
	}
	if e.LegacyAPI {
		check.that(e.Type == HostBT, "legacy-api", e.LegacyAPI, "is for hosts of type bt only")
		check.that(e.Type != HostBT || *e.Host.WithDefaults().Handler == HandlerHost, "legacy-api", e.LegacyAPI, "needs the handler host")
	}
	return check.faults
}

func (c *checker) host(h Host) {
	c.hostName(h.Name)
	if h.Type != HostVM {
		c.path("path", h.Path)
	} else if h.Path == "" {
		c.that(false, "path", "", "is missing")
	} else if _, _, err := host.ParseAddress(h.Path); err != nil {
		c.that(false, "path", h.Path, err.Error())
	}
	channel := *h.IPMIChannel
	c.that(channel <= ipmi.ChannelMaxImplemented || channel == ipmi.ChannelSystemInterface, "ipmi-channel", int(channel), "must be from 0 to 11, or 15")
	c.that(*h.Handler <= HandlerNone && *h.Handler != HandlerSignal, "handler", *h.Handler, "must be one of host, bmc, none")
	c.within("devIndex", h.DevIndex, 0, MaxDevIndex)
}

func (c *checker) openIPMI(o OpenIPMI) {
	c.hostName(o.Name)
	c.path("path", o.Path)
	channel := *o.IPMIChannel
	c.that(channel <= ipmi.ChannelMaxImplemented, "ipmi-channel", int(channel), "must be from 0 to 11, or 15 for 0")
	c.that(*o.Handler <= HandlerNone, "handler", *o.Handler, wanted(handlerKinds))
	c.that(*o.Handler == HandlerNone || len(o.Commands) > 0, "commands", "",
		"is missing: the driver passes on to the handler only what is named here")
	c.within("devIndex", o.DevIndex, 0, MaxDevIndex)
}

func (c *checker) hostName(name string) {
	if name == "" {
		c.that(false, "name", "", "is missing")
		return
	}
	c.that(isBusWord(name) && len(name) <= maxWord && name != reservedName && name != DefaultBusName, "name", name,
		"must be letters, digits and '_', at most 64, not beginning with a digit, and not "+reservedName+" or "+DefaultBusName)
}
