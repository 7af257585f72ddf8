package bmc

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"

	"ipmbd/ipmi"
)

// deviceCommands identify the controller and reset it (IPMI v2.0, sections 20 and 22.14).
var deviceCommands = []command{
	{ipmi.NetFnApp, ipmi.CommandGetDeviceID, 0, 0, atOnce, getDeviceID},
	{ipmi.NetFnApp, 0x02, 0, 0, waits, coldReset},
	{ipmi.NetFnApp, 0x03, 0, 0, atOnce, warmReset},
	{ipmi.NetFnApp, 0x04, 0, 0, atOnce, getSelfTestResults},
	{ipmi.NetFnApp, 0x08, 0, 0, atOnce, getGUID}, // of the device
	{ipmi.NetFnApp, 0x37, 0, 0, atOnce, getGUID}, // of the system
}

// Identity is the response to Get Device ID except for the support bits (IPMI v2.0, section 20.1).
type Identity struct {
	// ID of the device. 0 is 32.
	ID uint8 `conf:"device-id" default:"32"`
	// Revision of the device. 0 is 1.
	Revision uint8 `conf:"revision" range:"0..15" default:"1"`
	// Revision of the firmware, such as "1.05", at most "127.99".
	Firmware Firmware `conf:"firmware" default:"\"0.00\""`
	// Number of the manufacturer, as IANA assigns it: 343 is Intel.
	Manufacturer uint32 `conf:"manufacturer" range:"0..1048574"`
	// Number of the product, as its manufacturer assigns it.
	Product uint16 `conf:"product" range:"0..65534"`
	// Further revision of the firmware, 8 hexadecimal digits in a string.
	Auxiliary [4]byte `conf:"auxiliary"` // zero is none
}

// Firmware is a revision of firmware.
type Firmware struct {
	Major uint8 // 0 to 127
	Minor uint8 // BCD: 50h is .50
}

// UnmarshalText implements encoding.TextUnmarshaler: "1.05" is 1 and 05h.
func (f *Firmware) UnmarshalText(text []byte) error {
	major, minor, _ := strings.Cut(string(text), ".")
	whole, err := strconv.ParseUint(major, 10, 7)
	_, decimal := strconv.ParseUint(minor, 10, 7)
	if errors.Join(err, decimal) != nil || len(major) > 3 || len(minor) != 2 {
		return errors.New(`must be a string such as "1.05", at most "127.99"`)
	}
	bcd, _ := strconv.ParseUint(minor, 16, 8)
	f.Major, f.Minor = uint8(whole), uint8(bcd)
	return nil
}

const ipmiVersion = 0x02 // 2.0, BCD with the major digit in bits 3:0

// support has the bits of what every BMC supports itself, and of what the bridge in front of it
// adds: the bridge receives events and carries messages.
const support = ipmi.SupportsSensors | ipmi.SupportsSDRRepository | ipmi.SupportsSEL |
	ipmi.SupportsChassis | ipmi.SupportsEventReceiver | ipmi.SupportsBridge

// supportWith adds that the BMC has FRU device 0, which is what the bit means (IPMI v2.0, table
// 43-8).
func supportWith(frus []*fruDevice) ipmi.DeviceSupport {
	if slices.ContainsFunc(frus, (*fruDevice).isPrimary) {
		return support | ipmi.SupportsFRU
	}
	return support
}

func getDeviceID(b *BMC, _ *ipmi.Request) ipmi.Response {
	i := b.config.Identity
	data := []byte{cmp.Or(i.ID, 0x20), cmp.Or(i.Revision, 1) & 0x0F, i.Firmware.Major & 0x7F, i.Firmware.Minor,
		ipmiVersion, byte(supportWith(b.frus)), byte(i.Manufacturer), byte(i.Manufacturer >> 8), byte(i.Manufacturer >> 16)}
	data = binary.LittleEndian.AppendUint16(data, i.Product)
	if i.Auxiliary != ([4]byte{}) {
		data = append(data, i.Auxiliary[:]...)
	}
	return answer(data...)
}

// coldReset sets sensors to the configuration, and the volatile state of the host that sent it to
// that of the first start: watchdogs, ACPI states, identify, restart cause, the texts of the
// operating system, and boot options (IPMI v2.0, sections 20.2, 22.14a, 27.6 and 28.13). It leaves
// other hosts and the process alone.
func coldReset(b *BMC, req *ipmi.Request) ipmi.Response {
	if err := b.forgetBootOptions(req.Host); err != nil {
		return outcome(err)
	}
	b.resetWatchdogs((*watchdog).coldReset, func(w *watchdog) bool { return w.host == req.Host })
	for _, s := range b.sensors {
		s.mu.Lock()
		s.initialize()
		s.mu.Unlock()
	}
	b.mu.Lock()
	delete(b.hosts, req.Host)
	b.mu.Unlock()
	if b.config.ColdReset != nil {
		b.config.ColdReset(req.Host)
	}
	return warmReset(b, req)
}

// warmReset ends reservations and sets in progress, which requesters have begun and not finished.
func warmReset(b *BMC, _ *ipmi.Request) ipmi.Response {
	for _, r := range []*reservation{&b.log.holder, &b.repository.holder, &b.repository.deviceHolder} {
		r.end()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.inProgress)
	return answer()
}

// Results of the self test, and the device that has failed (IPMI v2.0, section 20.4).
const (
	selfTestPassed = 0x55
	selfTestFailed = 0x57   // something is corrupted or cannot be accessed
	faultSEL       = 1 << 7 // the SEL device
	faultFRU       = 1 << 5 // the BMC's FRU device
)

// getSelfTestResults reports a fault of the SEL, and of the BMC's FRU device if there is one, while
// the journal cannot store anything, and a fault of that device if its file could not be read.
func getSelfTestResults(b *BMC, _ *ipmi.Request) ipmi.Response {
	lost, faults := b.journal.isLost(), byte(0)
	if lost {
		faults = faultSEL
	}
	for _, d := range b.frus {
		if d.isPrimary() && (lost || d.unread != nil) {
			faults |= faultFRU
		}
	}
	if faults == 0 {
		return answer(selfTestPassed, 0)
	}
	return answer(selfTestFailed, faults)
}

func getGUID(b *BMC, _ *ipmi.Request) ipmi.Response {
	if b.config.GUID != ([16]byte{}) {
		return answer(slices.Clone(b.config.GUID[:])...)
	}
	return answer(slices.Clone(b.journal.value(guidSetting))...)
}

// guidSetting is the setting with the random GUID of the first start.
const guidSetting = "guid"

// makeGUID stores a new random GUID if the journal has none: version 4, with its fields in the
// reverse order of RFC 4122 (IPMI v2.0, section 20.8). On a full disk it lasts until the process
// ends.
func (b *BMC) makeGUID() {
	var guid [16]byte
	if len(b.journal.value(guidSetting)) == len(guid) {
		return
	}
	rand.Read(guid[:])
	guid[9] = guid[9]&0x0F | 0x40 // version, in the time's high field
	guid[7] = guid[7]&0x3F | 0x80 // variant, in the clock sequence
	if b.journal.write(putValue(guidSetting, guid[:]...)) != nil {
		b.config.GUID = guid
	}
}

// acpiCommands keep the power states that system software sets (IPMI v2.0, sections 20.6 and
// 20.7).
var acpiCommands = []command{
	{ipmi.NetFnApp, 0x06, 2, 2, atOnce, setACPIPowerState},
	{ipmi.NetFnApp, 0x07, 0, 0, atOnce, getACPIPowerState},
}

const (
	acpiSet      = 1 << 7 // the request sets the state
	acpiNoChange = 0x7F
	acpiUnknown  = 0x2A

	acpiS1        = 0x01 // and then the other states that are no S0
	acpiOverride  = 0x0A // the last of them
	acpiLegacyOn  = 0x20
	acpiLegacyOff = 0x21
)

// setACPIPowerState takes the states of the system and of the device. The system has the states S0
// to S5, S4 or S5, mechanical off, sleeping, G1 sleeping and override (0Ah), legacy on (20h) and
// off, and unknown; the device has D0 to D3 and unknown.
func setACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	system, device := req.Data[0]&^acpiSet, req.Data[1]&^acpiSet
	if system > acpiOverride && system != acpiLegacyOn && system != acpiLegacyOff && system != acpiUnknown && system != acpiNoChange ||
		device > 0x03 && device != acpiUnknown && device != acpiNoChange {
		return refuse(ipmi.CodeInvalidField)
	}
	h := b.host(req.Host)
	h.system, h.device = acpiState(h.system, req.Data[0]), acpiState(h.device, req.Data[1])
	if runsNoSoftware(h.system) {
		for _, w := range b.watchdogs {
			if w.host == req.Host {
				w.stop()
			}
		}
	}
	return answer()
}

// runsNoSoftware reports whether a system sleeps or is off. Then watchdogs do not run (IPMI v2.0,
// sections 27.1 and 27.7).
func runsNoSoftware(system byte) bool {
	return system >= acpiS1 && system <= acpiOverride || system == acpiLegacyOff
}

// acpiState is the state after a byte of the request.
func acpiState(now, asked byte) byte {
	if asked&acpiSet == 0 || asked&^acpiSet == acpiNoChange {
		return now
	}
	return asked &^ acpiSet
}

func getACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	return answer(h.system, h.device)
}
