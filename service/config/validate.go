package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ipmbd/bmc/record"
	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/internal/readfile"
	"ipmbd/ipmi"
)

// format says what a string must look like.
type format struct {
	pattern *regexp.Regexp
	longest int // bytes, 0 for no bound
	problem string
	explain func(text string) error // in place of problem; nil for texts that match the pattern
}

// formats are the formats in tags. The words go into D-Bus names and object paths (D-Bus
// specification, "Valid Names" and "Valid Object Paths"), which have 255 bytes in all. A socket
// path has sun_path's size without the zero at its end (unix(7)).
var formats = map[string]format{
	"path": {regexp.MustCompile(`^/[^\x00]*$`), 0, "must be an absolute path", nil},
	"socket path": {regexp.MustCompile(`^/[^\x00]*$`), 107,
		"must be an absolute path of at most 107 bytes, as the address of a socket", nil},
	"object word": {regexp.MustCompile(`^[A-Za-z0-9_]*$`), 64, "must be letters, digits and '_', at most 64", nil},
	"bus word": {regexp.MustCompile(`^[A-Za-z_-][A-Za-z0-9_-]*$`), 64,
		"must be letters, digits, '_' and '-', at most 64, not beginning with a digit", nil},
	"bus name": {regexp.MustCompile(`^([A-Za-z_-][A-Za-z0-9_-]*\.)+[A-Za-z_-][A-Za-z0-9_-]*$`), 255,
		"must be a well-known D-Bus name such as com.example.Name", nil},
	"object path": {regexp.MustCompile(`^/`), 0, "must be the path of an object", nil},
	"record name": latin1(record.MaxName),
	"record text": latin1(record.MaxFRUText),
}

// latin1 is the format of texts in records of up to most characters.
func latin1(most int) format {
	pattern := fmt.Sprintf("^[ -~\u00A0-\u00FF]{%d,%d}$", record.MinText, most)
	return format{pattern: regexp.MustCompile(pattern), explain: func(text string) error {
		_, err := record.Latin1(text, most)
		return err
	}}
}

// problemOf is what is wrong with a text, empty if nothing is. The zero format takes any.
func (f format) problemOf(text string) string {
	if f.pattern == nil || f.pattern.MatchString(text) && (f.longest == 0 || len(text) <= f.longest) {
		return ""
	}
	if f.explain != nil {
		return f.explain(text).Error()
	}
	return f.problem
}

// reservedName cannot be the name of a bus: below it are D-Bus objects of another kind.
const reservedName = "handlers"

// faults returns the faults of keys in combination. key is the channel's.
func (c Channel) faults(key string) []Fault {
	full := c.WithDefaults()
	check := checker{prefix: key + "."}
	check.that(c.Transport != TransportSlaveMqueue || c.isAttribute(full.BMCAddress), "slave-path", c.SlavePath,
		fmt.Sprintf("must be the attribute of slave-mqueue at bmc-addr, such as %s",
			i2c.Binding{Bus: 4, Driver: i2c.SlaveMqueue, Addr: uint8(full.BMCAddress)}.Node()))
	if c.Transport == TransportSeqPacket {
		check.text("slave-path", c.SlavePath, "socket path")
	}
	if c.Transport != TransportIPMBDevice && c.Transport != TransportAuto {
		problem := fmt.Sprintf("is a switch of the transport %s, not of %s", i2c.IPMBDevice, c.Transport)
		check.that(!c.IgnoreNACK, "ignore-nack", true, problem)
		check.that(!c.VerifyChecksum, "verify-header-checksum", true, problem)
	}
	check.that(c.RemoteAddress != full.BMCAddress, "remote-addr", c.RemoteAddress, "is our own address, bmc-addr")
	check.that(full.Name != "" || c.SlavePath == "", "name", "",
		"is missing, and slave-path holds no bus number to make one of")
	check.that(full.Name != reservedName, "name", full.Name, "is where the objects of handlers are")
	// It may come from the entry before, in ipmbbridge's file.
	check.that(0 <= c.DevIndex && c.DevIndex <= MaxDevIndex, "devIndex", c.DevIndex,
		fmt.Sprintf("must be from 0 to %d", MaxDevIndex))
	return check.faults
}

// isAttribute reports whether SlavePath is the attribute of slave-mqueue for an own address, in
// any folder.
func (c Channel) isAttribute(own ipmi.Address) bool {
	number, err := strconv.Atoi(bus.Number(c.SlavePath))
	if err != nil {
		return false
	}
	node := i2c.Binding{Bus: number, Driver: i2c.SlaveMqueue, Addr: uint8(own)}.Node()
	folder, attribute := filepath.Split(node)
	return strings.HasSuffix(filepath.Clean(c.SlavePath), filepath.Join("/", filepath.Base(folder), attribute))
}

// faults is what is wrong with keys in combination, except in channels and hosts.
func (c Config) faults() []Fault {
	var check checker
	for i, name := range c.TrustedNames {
		check.that(!slices.Contains(c.TrustedNames[:i], name), item("trusted-names", i), name, "is listed twice")
	}
	names := make(map[string]bool)
	for _, e := range c.Entries() {
		_, name, _ := strings.Cut(e.Title(), " ")
		names[name] = true
	}
	for i, p := range c.Filters {
		key := item("policy", i)
		check.that(len(p.Allow)+len(p.Deny) > 0, key+".deny", "", `is missing, as is "allow": the entry denies nothing`)
		for j, name := range p.Channels {
			check.that(names[name], item(key+".channels", j), name, "is the name of no channel and no host")
		}
	}
	check.prefix = "bmc."
	if c.BMC.Folder != "" {
		problem := "cannot be a folder: there is a file in its place, or above it"
		check.that(!errors.Is(readfile.IsFolder(c.BMC.Folder), syscall.ENOTDIR), "folder", c.BMC.Folder, problem)
	}
	numbers, ids := make(map[uint8]bool), make(map[uint8]bool)
	for i, s := range c.BMC.Sensors {
		key := item("sensors", i)
		check.errOf(key, s.Validate())
		check.that(!numbers[s.Number], key+".number", s.Number, "belongs to another one")
		check.that(s.Property == Property{} || s.File == "", key+".dbus", "", "is given beside a file")
		numbers[s.Number] = true
	}
	for i, f := range c.BMC.FRUs {
		key := item("frus", i)
		check.errOf(key, f.Validate())
		check.that(!ids[f.ID], key+".id", f.ID, "belongs to another one")
		ids[f.ID] = true
	}
	for i, controller := range c.BMC.Controllers {
		check.errOf(item("controllers", i), controller.Validate())
	}
	return check.faults
}

// wholeBus are the devices of i2c-dev, one for each I2C bus.
var wholeBus = regexp.MustCompile(`^/dev/i2c-([0-9]{1,4})$`)

// warnings are about values that are possible, but seldom meant. key is the channel's.
func (c Channel) warnings(key string) []Fault {
	check := checker{prefix: key + "."}
	check.not7Bit("bmc-addr", c.BMCAddress)
	check.not7Bit("remote-addr", c.RemoteAddress)
	if found := wholeBus.FindStringSubmatch(c.SlavePath); found != nil {
		number, _ := strconv.Atoi(found[1])
		node := func(driver string) string {
			return i2c.Binding{Bus: number, Driver: driver, Addr: uint8(c.WithDefaults().BMCAddress)}.Node()
		}
		check.that(false, "slave-path", c.SlavePath, fmt.Sprintf("is an I2C bus, on which nothing is received: "+
			"name the device that a driver makes on it, %s of %s or %s of %s; ipmbctl bind makes either",
			node(i2c.IPMBDev), i2c.IPMBDev, node(i2c.SlaveMqueue), i2c.SlaveMqueue))
	}
	return check.faults
}

// warnings are the warnings about everything except channels and hosts.
func (c Config) warnings() []Fault {
	check := checker{prefix: "bmc."}
	for i, controller := range c.BMC.Controllers {
		check.not7Bit(item("controllers", i)+".address", controller.Address)
	}
	for i, f := range c.BMC.FRUs {
		check.errOf(item("frus", i), f.CheckFile())
	}
	return check.faults
}

// lowestResponder is the lowest address that a controller on an IPMB has in its 8-bit form, the
// BMC's own. I2C reserves the addresses from 00h to 0Eh, and SMBus gives those from 10h to 18h a
// fixed use (host, batteries, alert response; SMBus 2.0, appendix C), so no file that works names
// them. Read as 7-bit addresses they are the BMC and satellites: 10h is 20h, and 16h is the
// management engine's 2Ch. Higher numbers are addresses in either form.
const lowestResponder ipmi.Address = 0x20

func (c *checker) not7Bit(key string, a ipmi.Address) {
	c.that(a == 0 || a >= lowestResponder, key, a, fmt.Sprintf(
		"looks like an address in 7 bits: the 8-bit form, which belongs here, would be 0x%02X", uint8(a<<1)))
}

// sharedNumbers returns the channels that Send Message does not reach, because an earlier channel
// of the same host has their IPMI channel number. That matters if a channel is bridged.
func sharedNumbers(channels []Channel, keys []string) []Fault {
	type number struct{ host, channel int }
	var check checker
	first := make(map[number]string)
	bridged := false
	for i, c := range channels {
		c = c.WithDefaults()
		bridged = bridged || c.Bridged()
		n := number{c.DevIndex, int(*c.IPMIChannel)}
		check.that(first[n] == "", keys[i]+".ipmi-channel", n.channel,
			"is that of "+first[n]+", too, which Send Message reaches in its place")
		if first[n] == "" {
			first[n] = keys[i]
		}
	}
	if !bridged {
		return nil
	}
	return check.faults
}

// checker gathers faults. Their keys begin with prefix.
type checker struct {
	prefix string
	faults []Fault
}

func (c *checker) that(ok bool, key string, value any, problem string) {
	if !ok {
		c.faults = append(c.faults, Fault{Key: c.prefix + key, Value: show(value), Problem: problem})
	}
}

func (c *checker) text(key, value, name string) {
	problem := formats[name].problemOf(value)
	c.that(problem == "", key, value, problem)
}

// errOf notes an error about a value, a fault for each of its lines.
func (c *checker) errOf(key string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		c.that(false, key, "", strings.TrimSpace(line))
	}
}

// show is a value as a file would have it.
func show(value any) string {
	if text, ok := value.(string); ok && text != "" {
		return strconv.Quote(text)
	}
	return fmt.Sprint(value)
}
