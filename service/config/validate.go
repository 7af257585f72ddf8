package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// format is what a string must look like.
type format struct {
	*regexp.Regexp
	problem string
}

// formats are those of tags. The words go into D-Bus names and object paths (D-Bus
// specification, "Valid Names" and "Valid Object Paths"), which have 255 bytes in all.
var formats = map[string]format{
	"path":        {regexp.MustCompile(`^/[^\x00]*$`), "must be an absolute path"},
	"object word": {regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`), "must be letters, digits and '_', at most 64"},
	"bus word": {regexp.MustCompile(`^[A-Za-z_-][A-Za-z0-9_-]{0,63}$`),
		"must be letters, digits, '_' and '-', at most 64, not beginning with a digit"},
	"bus name": {regexp.MustCompile(`^([A-Za-z_-][A-Za-z0-9_-]*\.)+[A-Za-z_-][A-Za-z0-9_-]*$`),
		"must be a well-known D-Bus name such as com.example.Name"},
	"object path": {regexp.MustCompile(`^/`), "must be the path of an object"},
}

const (
	// reservedName is no bus's, since D-Bus objects of other kinds are below it.
	reservedName = "handlers"
	// maxBusName is the length of the longest D-Bus name, in bytes.
	maxBusName = 255
	// maxSocketPath is sun_path's size without the zero at its end (unix(7)).
	maxSocketPath = 107
)

// Validate reports every fault at once, each a [Fault] on a line of its own.
func (c Config) Validate() error {
	faults := slices.Concat(fieldFaults("", c), c.topFaults())
	taken := claims{}
	for i, ch := range c.Channels {
		key := item("channels", i)
		own := slices.Concat(fieldFaults(key, ch), ch.faults(key))
		faults = slices.Concat(faults, own, taken.claim(key, ch.wants(key, own)))
	}
	entries := c.hostEntries()
	for i, e := range entries {
		faults = append(faults, fieldFaults(item("hosts", i), e)...)
	}
	return join(slices.Concat(faults, c.hostFaults(entries), c.filterFaults(), c.bmcFaults()))
}

// fieldFaults are the fields of a struct that are missing or out of bounds, each for itself.
// The channels and hosts of a Config are left out.
func fieldFaults(key string, of any) []Fault {
	var check checker
	check.fields(key, reflect.ValueOf(of))
	return check.faults
}

func (c *checker) fields(key string, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		at, err := v.FieldByIndexErr(f.index)
		key := strings.TrimPrefix(key+"."+f.key, ".")
		switch {
		case err != nil: // It is in a struct that is not there.
		case at.IsZero():
			c.that(!f.required, key, "", "is missing")
		default:
			c.value(key, f, at)
		}
	}
}

func (c *checker) value(key string, f field, v reflect.Value) {
	switch value := v.Interface().(type) {
	case []Channel, []Host:
		return
	case time.Duration:
		if value > 0 || f.low > 0 {
			c.bounds(key, f, value.Milliseconds(), " ms")
		}
		return
	case choice:
		c.that(v.Kind() == reflect.Pointer || v.Uint() < uint64(len(value.words())), key, value, wanted(value.words()))
	case ipmi.Address:
		c.that(value.IsSlave(), key, value, "must be even: an address in its 8-bit form")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		c.value(key, f, v.Elem())
	case reflect.Struct:
		c.fields(key, v)
	case reflect.Slice:
		for i := range v.Len() {
			c.value(item(key, i), f, v.Index(i))
		}
	case reflect.String:
		c.text(key, v.String(), f.format)
	case reflect.Int:
		c.bounds(key, f, v.Int(), "")
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		c.bounds(key, f, int64(v.Uint()), "")
	}
}

func (c *checker) bounds(key string, f field, value int64, unit string) {
	problem := f.outside(value, unit)
	c.that(problem == "", key, value, problem)
}

// text checks that a string has a format, if one is named.
func (c *checker) text(key, value, name string) {
	if f, ok := formats[name]; ok {
		c.that(f.MatchString(value) && (name != "bus name" || len(value) <= maxBusName), key, value, f.problem)
	}
}

// topFaults is what is wrong with the relations of the keys beside the lists.
func (c Config) topFaults() []Fault {
	var check checker
	check.that(len(c.FrameSocket) <= maxSocketPath, "frame-socket", c.FrameSocket, "is longer than the address of a socket")
	for i, name := range c.TrustedNames {
		check.that(!slices.Contains(c.TrustedNames[:i], name), item("trusted-names", i), name, "is listed twice")
	}
	return check.faults
}

// faults is what is wrong with the relations of the channel's keys; key is its own.
func (c Channel) faults(key string) []Fault {
	full := c.WithDefaults()
	check := checker{prefix: key + "."}
	check.that(c.Transport != TransportSlaveMqueue || c.isAttribute(full.BMCAddress), "slave-path", c.SlavePath,
		fmt.Sprintf("must be the attribute of slave-mqueue at bmc-addr, such as %s",
			i2c.Binding{Bus: 4, Driver: i2c.SlaveMqueue, Addr: uint8(full.BMCAddress)}.Node()))
	check.ofIPMBDevice("ignore-nack", c.IgnoreNACK, c.Transport)
	check.ofIPMBDevice("verify-header-checksum", c.VerifyChecksum, c.Transport)
	check.that(c.RemoteAddress != full.BMCAddress, "remote-addr", c.RemoteAddress, "is our own address, bmc-addr")
	check.that(full.Name != "" || c.SlavePath == "", "name", "", "is missing, and slave-path holds no bus number to make one of")
	check.that(full.Name != reservedName, "name", full.Name, "is where the objects of handlers are")
	return check.faults
}

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

func (c *checker) ofIPMBDevice(key string, on bool, kind TransportKind) {
	c.that(!on || kind == TransportIPMBDevice, key, on, "is a switch of the transport "+i2c.IPMBDevice)
}

// hostFaults is what is wrong with the relations of the entries of the list "hosts", also to
// the channels.
func (c Config) hostFaults(entries []hostEntry) []Fault {
	var faults []Fault
	taken := claims{}
	for _, ch := range c.Channels {
		taken.claim(ch.Title(), ch.wants("", nil))
	}
	for i, e := range entries {
		key := item("hosts", i)
		faults = slices.Concat(faults, e.faults(key), taken.claim(key, e.entry().wants(key, nil)))
	}
	return faults
}

// filterFaults is what is wrong with the filters of commands.
func (c Config) filterFaults() []Fault {
	var check checker
	names := make(map[string]bool)
	for _, e := range c.WithDefaults().Entries() {
		switch e := e.(type) {
		case Channel:
			names[e.Name] = true
		case Host:
			names[e.Name] = true
		case OpenIPMI:
			names[e.Name] = true
		}
	}
	for i, p := range c.Filters {
		key := item("policy", i)
		check.that(len(p.Allow)+len(p.Deny) > 0, key+".deny", "", `is missing, as is "allow": the entry denies nothing`)
		for j, name := range p.Channels {
			check.that(names[name], item(key+".channels", j), name, "is the name of no channel and no host")
		}
	}
	return check.faults
}

// bmcFaults is what is wrong with the relations of the built-in BMC's keys.
func (c Config) bmcFaults() []Fault {
	check := checker{prefix: "bmc."}
	numbers := make(map[uint8]bool)
	for i, s := range c.BMC.Sensors {
		key := item("sensors", i)
		check.errOf(key, s.Validate())
		check.that(!numbers[s.Number], key+".number", s.Number, "belongs to another one")
		numbers[s.Number] = true
		check.that(s.Property == Property{} || s.File == "", key+".dbus", "", "is given beside a file")
	}
	ids := make(map[uint8]bool)
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

// errOf notes an error about a value, a fault for each of its lines.
func (c *checker) errOf(key string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		c.that(false, key, "", strings.TrimSpace(line))
	}
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
