package config

import (
	"bytes"
	"encoding/hex"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ipmbd/bmc"
	"ipmbd/ipmi"
)

// BMC is the built-in BMC: who it is, and what it keeps and measures.
type BMC struct {
	// Folder is where event log, FRU inventory and settings are kept, an absolute
	// path. Empty keeps them in memory.
	Folder string // folder
	// GUID is that of the device and the system, in the order of the wire. Zero is
	// a random one. A file has the text of RFC 4122.
	GUID     [16]byte     // guid
	Identity bmc.Identity // identity
	// LogCapacity is how many records the event log holds; bmc.Config has the
	// default.
	LogCapacity int              // log-capacity
	Sensors     []Sensor         // sensors
	FRUs        []bmc.FRUConfig  // frus
	Controllers []bmc.Controller // controllers
}

// Sensor is a sensor, whose value may be a property on D-Bus.
type Sensor struct {
	bmc.SensorConfig
	Property Property // dbus
}

// Property names a property of an object on the message bus, a number or a
// boolean.
type Property struct {
	Service   string // service
	Path      string // path
	Interface string // interface
	Property  string // property
}

// bmcKeys are the keys of the built-in BMC.
var bmcKeys = setters[BMC]{
	"folder":       func(r *reader, n node, key string, c *BMC) { r.text(n, key, &c.Folder) },
	"guid":         func(r *reader, n node, key string, c *BMC) { r.guid(n, key, &c.GUID) },
	"identity":     func(r *reader, n node, key string, c *BMC) { object(r, n, key, identityKeys, &c.Identity) },
	"log-capacity": func(r *reader, n node, key string, c *BMC) { r.count(n, key, &c.LogCapacity) },
	"sensors":      func(r *reader, n node, key string, c *BMC) { list(r, n, key, sensorKeys, &c.Sensors) },
	"frus":         func(r *reader, n node, key string, c *BMC) { list(r, n, key, fruKeys, &c.FRUs) },
	"controllers":  func(r *reader, n node, key string, c *BMC) { list(r, n, key, controllerKeys, &c.Controllers) },
}

// identityKeys are the fields of Get Device ID.
var identityKeys = setters[bmc.Identity]{
	"device-id": func(r *reader, n node, key string, i *bmc.Identity) { number(r, n, key, math.MaxUint8, &i.ID) },
	"revision":  func(r *reader, n node, key string, i *bmc.Identity) { number(r, n, key, 15, &i.Revision) },
	"firmware":  func(r *reader, n node, key string, i *bmc.Identity) { r.firmware(n, key, i) },
	"manufacturer": func(r *reader, n node, key string, i *bmc.Identity) {
		number(r, n, key, 1<<20-1, &i.Manufacturer)
	},
	"product":   func(r *reader, n node, key string, i *bmc.Identity) { number(r, n, key, math.MaxUint16, &i.Product) },
	"auxiliary": func(r *reader, n node, key string, i *bmc.Identity) { r.octets(n, key, i.Auxiliary[:]) },
}

// sensorKeys are the keys of one sensor.
var sensorKeys = setters[Sensor]{
	"name":       func(r *reader, n node, key string, s *Sensor) { r.text(n, key, &s.Name) },
	"number":     func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.Number) },
	"type":       func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.Type) },
	"entity":     func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.Entity) },
	"instance":   func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.Instance) },
	"event-type": func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.EventType) },
	"unit":       func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint8, &s.Unit) },
	"min":        func(r *reader, n node, key string, s *Sensor) { r.real(n, key, &s.Min) },
	"max":        func(r *reader, n node, key string, s *Sensor) { r.real(n, key, &s.Max) },
	"hysteresis": func(r *reader, n node, key string, s *Sensor) { r.real(n, key, &s.Hysteresis) },
	"states":     func(r *reader, n node, key string, s *Sensor) { number(r, n, key, math.MaxUint16, &s.States) },
	"value":      func(r *reader, n node, key string, s *Sensor) { r.real(n, key, &s.Value) },
	"file":       func(r *reader, n node, key string, s *Sensor) { r.text(n, key, &s.File) },
	"scale":      func(r *reader, n node, key string, s *Sensor) { r.real(n, key, &s.Scale) },
	"dbus":       func(r *reader, n node, key string, s *Sensor) { object(r, n, key, propertyKeys, &s.Property) },

	"lower-non-critical": func(r *reader, n node, key string, s *Sensor) {
		r.threshold(n, key, &s.Thresholds.LowerNonCritical)
	},
	"lower-critical": func(r *reader, n node, key string, s *Sensor) { r.threshold(n, key, &s.Thresholds.LowerCritical) },
	"lower-non-recoverable": func(r *reader, n node, key string, s *Sensor) {
		r.threshold(n, key, &s.Thresholds.LowerNonRecoverable)
	},
	"upper-non-critical": func(r *reader, n node, key string, s *Sensor) {
		r.threshold(n, key, &s.Thresholds.UpperNonCritical)
	},
	"upper-critical": func(r *reader, n node, key string, s *Sensor) { r.threshold(n, key, &s.Thresholds.UpperCritical) },
	"upper-non-recoverable": func(r *reader, n node, key string, s *Sensor) {
		r.threshold(n, key, &s.Thresholds.UpperNonRecoverable)
	},
}

var propertyKeys = setters[Property]{
	"service":   func(r *reader, n node, key string, p *Property) { r.text(n, key, &p.Service) },
	"path":      func(r *reader, n node, key string, p *Property) { r.text(n, key, &p.Path) },
	"interface": func(r *reader, n node, key string, p *Property) { r.text(n, key, &p.Interface) },
	"property":  func(r *reader, n node, key string, p *Property) { r.text(n, key, &p.Property) },
}

// controllerKeys are the keys of a controller that the SDR repository names.
var controllerKeys = setters[bmc.Controller]{
	"name":    func(r *reader, n node, key string, c *bmc.Controller) { r.text(n, key, &c.Name) },
	"address": func(r *reader, n node, key string, c *bmc.Controller) { r.address(n, key, &c.Address) },
	"ipmi-channel": func(r *reader, n node, key string, c *bmc.Controller) {
		number(r, n, key, int(ipmi.ChannelMaxImplemented), &c.Channel)
	},
	"capabilities": func(r *reader, n node, key string, c *bmc.Controller) {
		number(r, n, key, math.MaxUint8, &c.Capabilities)
	},
	"entity":   func(r *reader, n node, key string, c *bmc.Controller) { number(r, n, key, math.MaxUint8, &c.Entity) },
	"instance": func(r *reader, n node, key string, c *bmc.Controller) { number(r, n, key, math.MaxUint8, &c.Instance) },
}

var guidText = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// guid reads a GUID. Its first byte as a text is the last on the wire (IPMI v2.0,
// section 20.8).
func (r *reader) guid(n node, key string, into *[16]byte) {
	if n.kind != kindString || !guidText.MatchString(n.text) {
		r.fault(n, key, `must be a string such as "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`)
		return
	}
	data, _ := hex.DecodeString(strings.ReplaceAll(n.text, "-", ""))
	if bytes.Equal(data, make([]byte, len(data))) {
		r.fault(n, key, "must not be zero")
		return
	}
	slices.Reverse(data)
	*into = [16]byte(data)
}

var firmwareText = regexp.MustCompile(`^([0-9]{1,3})\.([0-9]{2})$`)

// firmware reads a revision such as "1.05": its minor part is BCD on the wire.
func (r *reader) firmware(n node, key string, into *bmc.Identity) {
	parts := firmwareText.FindStringSubmatch(n.text)
	major := math.MaxInt
	if n.kind == kindString && parts != nil {
		major, _ = strconv.Atoi(parts[1])
	}
	if major > 127 {
		r.fault(n, key, `must be a string such as "1.05", at most "127.99"`)
		return
	}
	minor, _ := strconv.ParseUint(parts[2], 16, 8)
	into.Firmware = bmc.Firmware{Major: uint8(major), Minor: uint8(minor)}
}

// bmcFaults is what is wrong with the built-in BMC.
func (c Config) bmcFaults() []Fault {
	check := checker{prefix: "bmc."}
	b := c.BMC
	if b.Folder != "" {
		check.path("folder", b.Folder)
	}
	check.errOf("log-capacity", b.LogCapacity, bmc.Config{LogCapacity: b.LogCapacity}.Validate())
	var numbers []uint8
	for i, s := range b.Sensors {
		key := item("sensors", i)
		check.errOf(key, "", s.Validate())
		check.that(!slices.Contains(numbers, s.Number), key+".number", int(s.Number), "belongs to another one")
		numbers = append(numbers, s.Number)
		check.property(key, s)
		if s.File != "" {
			check.path(key+".file", s.File)
		}
	}
	var ids []uint8
	for i, f := range b.FRUs {
		key := item("frus", i)
		check.errOf(key, "", f.Validate())
		check.that(!slices.Contains(ids, f.ID), key+".id", int(f.ID), "belongs to another one")
		ids = append(ids, f.ID)
	}
	for i, controller := range b.Controllers {
		check.errOf(item("controllers", i), "", controller.Validate())
	}
	return check.faults
}

// property checks where a sensor's value comes from on D-Bus.
func (c *checker) property(key string, s Sensor) {
	p := s.Property
	if p == (Property{}) {
		return
	}
	key += ".dbus"
	c.that(s.File == "", key, "", "is given beside a file")
	c.that(isWellKnownName(p.Service), key+".service", p.Service, "must be a well-known D-Bus name such as com.example.Name")
	c.that(strings.HasPrefix(p.Path, "/"), key+".path", p.Path, "must be the path of an object")
	c.that(isWellKnownName(p.Interface), key+".interface", p.Interface, "must be the name of an interface")
	c.that(p.Property != "", key+".property", p.Property, "is missing")
}
