package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Validate reports every fault at once, each a [Fault] on a line of its own.
func (c Config) Validate() error {
	faults := c.topFaults()
	taken := claims{}
	for i, ch := range c.Channels {
		key := item("channels", i)
		own := ch.faults(key)
		wanted := ch.wants(key, own)
		faults = append(append(faults, own...), taken.clashes(wanted)...)
		taken.add(wanted, key)
	}
	return join(slices.Concat(faults, c.hostFaults(c.hostEntries()), c.policyFaults(), c.bmcFaults()))
}

// topFaults is what is wrong beside the channels.
func (c Config) topFaults() []Fault {
	var check checker
	check.limit("max-calls-per-sender", c.MaxCallsPerSender)
	if c.FrameSocket != "" {
		check.path("frame-socket", c.FrameSocket)
		check.that(len(c.FrameSocket) <= maxSocketPath, "frame-socket", c.FrameSocket, "is longer than the address of a socket")
	}
	for i, name := range c.TrustedNames {
		key := item("trusted-names", i)
		check.that(isWellKnownName(name), key, name, "must be a well-known D-Bus name such as com.example.Name")
		check.that(!slices.Contains(c.TrustedNames[:i], name), key, name, "is listed twice")
	}
	return check.faults
}

// faults is what is wrong with the channel for itself; key is its own.
func (c Channel) faults(key string) []Fault {
	named := c.WithDefaults()
	check := checker{prefix: key + "."}

	check.that(c.Type <= TypeME, "type", c.Type, wanted(channelTypes))
	check.that(c.Transport <= TransportSeqPacket, "transport", c.Transport, wanted(transportKinds))
	check.that(c.Handler <= HandlerNone, "handler", c.Handler, wanted(handlerKinds))

	check.path("slave-path", c.SlavePath)
	check.that(c.Transport != TransportSlaveMqueue || c.isAttribute(named.BMCAddress), "slave-path", c.SlavePath,
		fmt.Sprintf("must be the attribute of slave-mqueue at bmc-addr, such as %s",
			i2c.Binding{Bus: 4, Driver: i2c.SlaveMqueue, Addr: uint8(named.BMCAddress)}.Node()))
	check.ofIPMBDevice("ignore-nack", c.IgnoreNACK, c.Transport)
	check.ofIPMBDevice("verify-header-checksum", c.VerifyChecksum, c.Transport)
	check.address("bmc-addr", named.BMCAddress)
	check.address("remote-addr", c.RemoteAddress)
	check.that(c.RemoteAddress != named.BMCAddress, "remote-addr", c.RemoteAddress, "is our own address, bmc-addr")
	check.within("devIndex", c.DevIndex, 0, MaxDevIndex)
	check.within("ipmi-channel", int(*named.IPMIChannel), 0, int(ipmi.ChannelMaxImplemented))

	switch {
	case named.Name != "":
		check.that(isObjectWord(named.Name) && len(named.Name) <= maxWord, "name", named.Name,
			"must be letters, digits and '_', at most 64")
		check.that(named.Name != reservedName, "name", named.Name, "is where the objects of handlers are")
	case c.SlavePath != "":
		check.that(false, "name", "", "is missing, and slave-path holds no bus number to make one of")
	}
	check.that(isBusWord(named.BusName) && len(named.BusName) <= maxWord, "bus-name", named.BusName,
		"must be letters, digits, '_' and '-', at most 64, not beginning with a digit")

	check.duration("timeout-ms", c.Timeout, ipmb.MinTimeout, ipmb.MaxTimeout)
	check.count("tries", c.Tries, 1, ipmb.MaxTries)
	check.duration("duplicate-window-ms", max(c.DuplicateWindow, 0), 0, MaxWindow)
	check.duration("handler-timeout-ms", c.HandlerTimeout, time.Millisecond, MaxWindow)
	check.count("max-frame", c.MaxFrame, MinMaxFrame, MaxMaxFrame)
	check.limit("max-calls", c.MaxCalls)
	check.limit("max-handlers", c.MaxHandlers)
	return check.faults
}

// maxSocketPath is sun_path's size without the zero at its end (unix(7)).
const maxSocketPath = 107

// isAttribute reports whether SlavePath is the attribute of slave-mqueue for an
// own address; which folder it is in is not said.
func (c Channel) isAttribute(own ipmi.Address) bool {
	number, err := strconv.Atoi(bus.Number(c.SlavePath))
	if err != nil {
		return false
	}
	node := i2c.Binding{Bus: number, Driver: i2c.SlaveMqueue, Addr: uint8(own)}.Node()
	folder, attribute := filepath.Split(node)
	return strings.HasSuffix(filepath.Clean(c.SlavePath), filepath.Join("/", filepath.Base(folder), attribute))
}

// checker gathers faults.
type checker struct {
	prefix string
	faults []Fault
}

func (c *checker) that(ok bool, key string, value any, problem string) {
	if !ok {
		c.faults = append(c.faults, Fault{Key: c.prefix + key, Value: show(value), Problem: problem})
	}
}

// errOf notes what an error says of a value, a fault for each of its lines.
func (c *checker) errOf(key string, value any, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		c.that(false, key, value, strings.TrimSpace(line))
	}
}

func (c *checker) within(key string, value, low, high int) {
	c.that(low <= value && value <= high, key, value, fmt.Sprintf("must be from %d to %d", low, high))
}

// count is within, but 0 is the default.
func (c *checker) count(key string, value, low, high int) {
	if value != 0 {
		c.within(key, value, low, high)
	}
}

func (c *checker) limit(key string, value int) { c.count(key, value, 1, MaxLimit) }

func (c *checker) duration(key string, value, low, high time.Duration) {
	if value != 0 {
		c.that(low <= value && value <= high, key, value.Milliseconds(),
			fmt.Sprintf("must be from %d to %d ms", low.Milliseconds(), high.Milliseconds()))
	}
}

func (c *checker) address(key string, a ipmi.Address) {
	if a == 0 {
		c.that(false, key, "", "is missing")
		return
	}
	c.that(a.IsSlave(), key, a, "must be even: an address in its 8-bit form")
}

func (c *checker) ofIPMBDevice(key string, on bool, kind TransportKind) {
	c.that(!on || kind == TransportIPMBDevice, key, on, "is a switch of the transport "+i2c.IPMBDevice)
}

func (c *checker) path(key, path string) {
	if path == "" {
		c.that(false, key, "", "is missing")
		return
	}
	c.that(filepath.IsAbs(path) && !strings.ContainsRune(path, 0), key, path, "must be an absolute path")
}

func wanted(words []string) string { return "must be one of " + strings.Join(words, ", ") }

// show is a value as a file would have it.
func show(value any) string {
	switch v := value.(type) {
	case string:
		if v == "" {
			return ""
		}
		return strconv.Quote(v)
	case ipmi.Address:
		return fmt.Sprintf("0x%02X", uint8(v))
	}
	return fmt.Sprint(value)
}
