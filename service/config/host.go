package config

import (
	"path/filepath"
	"strings"
	"time"

	"ipmbd/host"
	"ipmbd/ipmi"
)

// Host is a system interface of a host.
type Host struct {
	// Kind of the interface: `vm` (a QEMU with `ipmi-bmc-extern`), `kcs`, `bt` or `ssif` (a
	// device of Linux), or `openipmi` (a bus behind Linux's IPMI driver).
	Type HostType `conf:"type" default:"vm"`
	// Device, or the socket to which QEMU connects: `unix:/PATH`, at most 107 bytes of path, or
	// `tcp:127.0.0.1:PORT`, which is not protected from other users. If systemd has passed a
	// socket with this address, ipmbd uses that.
	Path string `conf:"path,required"`
	// Last part of the object path, and of the D-Bus name by which the host IPMI daemon finds the
	// channel. Required for `vm`. By default it is `ipmi_kcs3` for `/dev/ipmi-kcs3`, `ipmi0` for
	// `/dev/ipmi0`, and `ipmi_ssif` for `ssif`.
	Name string `conf:"name" format:"bus word"`
	// Number of the host. The buses with the same number belong to this host, and so does their
	// LUN 2. Each number has one watchdog, one set of boot options and one chassis state: each
	// `vm` needs its own, while several interfaces of one host share it.
	DevIndex int `conf:"devIndex" range:"0..63" default:"0"`
	// IPMI channel number, 0 to 11 or 15. The default is 15. For `openipmi` it is the number of
	// the IPMB behind the driver, 0 to 11, and the default is 0.
	IPMIChannel *ipmi.Channel `conf:"ipmi-channel" range:"0..15"`
	// What serves requests that no program is registered for, as for a channel. The default is
	// `bmc` for `vm`, `none` for `openipmi` and `host` for the others. Only `openipmi` can have
	// `signal`.
	Handler *HandlerKind `conf:"handler"`
	// Whether Send Message is served, as for a channel. It is not for `openipmi`.
	Bridge bool `conf:"bridge" default:"false"`
	// Whether ipmbd takes the place of btbridge's `org.openbmc.HostIpmi`, for one `bt` with the
	// handler `host`. A request that no program is registered for is then the signal
	// `ReceivedMessage`, and the host daemon responds with `sendMessage`.
	LegacyAPI bool `conf:"legacy-api" default:"false"`
	// For `ssif` only: time for the response to a request, in milliseconds. After it ipmbd answers
	// C3h. It must be shorter than the time for which the driver of the device waits, 500 ms in
	// mainline Linux. Drivers of hosts wait up to 15 s.
	AnswerTime time.Duration `conf:"answer-ms" range:"50..14000" default:"400"`
}

// OpenIPMI is a controller behind Linux's IPMI driver, which is a bus to us. A file lists it
// among the hosts, with the type "openipmi"; its fields are like those of a Host.
type OpenIPMI struct {
	Name        string
	Path        string // of the device of ipmi_devintf
	DevIndex    int
	IPMIChannel *ipmi.Channel // of the IPMB behind the driver, 0 to 11; nil and 15 are 0
	Handler     *HandlerKind  // serves Commands that no program is registered for; nil is HandlerNone
	Commands    []ipmi.Commands
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

func (HostType) words() []string { return []string{"vm", "kcs", "bt", "ssif", "openipmi"} }

// String is the word that a file uses.
func (t HostType) String() string { return word(t, int(t)) }

// hostEntry is an entry of the list "hosts", of any type.
type hostEntry struct {
	Host `conf:",inline"`
	// For `openipmi` only: the commands that its `handler` serves, written as in a policy; a
	// netFn is all of its commands. The driver passes on only commands that it is asked for.
	Commands []ipmi.Commands `conf:"commands"`
}

func (e hostEntry) entry() Entry {
	if e.Type == typeOpenIPMI {
		return e.openIPMI()
	}
	return e.Host
}

func (e hostEntry) openIPMI() OpenIPMI {
	return OpenIPMI{e.Name, e.Path, e.DevIndex, e.IPMIChannel, e.Handler, e.Commands}
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
	case c.Name != "" || c.Path == "" || c.Type == HostVM:
	case c.Type == HostSSIF:
		c.Name = "ipmi_ssif"
	default:
		c.Name = objectWord(filepath.Base(c.Path))
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
	if c.Name == "" && c.Path != "" {
		c.Name = objectWord(filepath.Base(c.Path))
	}
	return c
}

// objectWord is a name as a part of an object path, which has no "-".
func objectWord(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Index is the bus's number in org.openbmc.Ipmb. Its type is 2, which no channel of ipmbbridge
// has.
func (c OpenIPMI) Index() uint8 { return uint8(c.DevIndex<<2) | 2 }

// Title implements [Entry].
func (c Host) Title() string { return "host " + c.WithDefaults().Name }

// Title implements [Entry].
func (c OpenIPMI) Title() string { return "host " + c.WithDefaults().Name }

// Word is the last part of object path and bus name.
func (c Host) Word() string { return objectWord(c.WithDefaults().Name) }

// Bridged reports whether Send Message is served on the interface.
func (c Host) Bridged() bool { return c.Bridge || *c.WithDefaults().Handler == HandlerBMC }

// faults returns the faults of keys in combination. key is the entry's.
func (e hostEntry) faults(key string) []Fault {
	check := checker{prefix: key + "."}
	if e.Type == typeOpenIPMI {
		o := e.openIPMI().WithDefaults()
		check.hostName(o.Name)
		check.text("path", o.Path, "path")
		check.that(*o.IPMIChannel <= ipmi.ChannelMaxImplemented, "ipmi-channel", "", "must be from 0 to 11, or 15 for 0")
		check.that(*o.Handler == HandlerNone || len(o.Commands) > 0, "commands", "",
			"is missing: the driver passes on to the handler only what is named here")
		check.that(!e.Bridge, "bridge", e.Bridge, "is not for hosts of type openipmi")
		check.that(!e.LegacyAPI, "legacy-api", e.LegacyAPI, "is for hosts of type bt only")
		check.that(e.AnswerTime == 0, "answer-ms", e.AnswerTime.Milliseconds(), "is for hosts of type ssif only")
		return check.faults
	}
	h := e.Host.WithDefaults()
	check.hostName(h.Name)
	if h.Type != HostVM {
		check.text("path", h.Path, "path")
	} else if network, name, err := host.ParseAddress(h.Path); err != nil {
		check.that(false, "path", h.Path, err.Error())
	} else if network == "unix" {
		check.text("path", name, "socket path")
	}
	check.that(*h.IPMIChannel <= ipmi.ChannelMaxImplemented || *h.IPMIChannel == ipmi.ChannelSystemInterface,
		"ipmi-channel", "", "must be from 0 to 11, or 15")
	check.that(*h.Handler != HandlerSignal, "handler", *h.Handler, "must be one of host, bmc, none")
	check.that(len(e.Commands) == 0, "commands", "", "is for hosts of type openipmi only")
	check.that(h.AnswerTime == 0 || h.Type == HostSSIF, "answer-ms", h.AnswerTime.Milliseconds(), "is for hosts of type ssif only")
	if h.LegacyAPI {
		check.that(h.Type == HostBT, "legacy-api", true, "is for hosts of type bt only")
		check.that(h.Type != HostBT || *h.Handler == HandlerHost, "legacy-api", true, "needs the handler host")
	}
	return check.faults
}

// warnings are as those of a Channel. A TCP socket has no owner and no mode.
func (e hostEntry) warnings(key string) []Fault {
	check := checker{prefix: key + "."}
	overTCP := e.Type == HostVM && strings.HasPrefix(e.Path, "tcp:")
	check.that(!overTCP, "path", e.Path, "has no authentication: any user of this machine can connect and be the host; "+
		"a Unix socket, such as unix:/run/ipmbd/host0.sock, has an owner and a group")
	return check.faults
}

func (c *checker) hostName(name string) {
	c.that(name != "", "name", "", "is missing")
	if name != "" {
		c.text("name", name, "bus word")
		c.that(name != reservedName && name != DefaultBusName, "name", name,
			"must be neither "+reservedName+" nor "+DefaultBusName)
	}
}
