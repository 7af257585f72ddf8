package bmc

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"ipmbd/ipmi"
)

// deviceCommands say what the controller is, and start it again (IPMI v2.0,
// sections 20 and 22.14).
var deviceCommands = []command{
	{ipmi.NetFnApp, ipmi.CommandGetDeviceID, 0, 0, atOnce, getDeviceID},
	{ipmi.NetFnApp, 0x02, 0, 0, atOnce, coldReset},
	{ipmi.NetFnApp, 0x03, 0, 0, atOnce, warmReset},
	{ipmi.NetFnApp, 0x04, 0, 0, atOnce, getSelfTestResults},
	{ipmi.NetFnApp, 0x08, 0, 0, atOnce, getGUID}, // of the device
	{ipmi.NetFnApp, 0x37, 0, 0, atOnce, getGUID}, // of the system
}

// Identity is what Get Device ID says beside what the BMC supports (IPMI v2.0,
// section 20.1).
type Identity struct {
	// ID of the device. 0 is 32.
	ID uint8 `conf:"device-id" default:"32"`
	// Revision of the device. 0 is 1.
	Revision uint8 `conf:"revision" range:"0..15" default:"1"`
	// Revision of the firmware, such as "1.05", at most "127.99".
	Firmware Firmware `conf:"firmware" default:"\"0.00\""`
	// Number of the manufacturer, as IANA assigns it: 343 is Intel.
	Manufacturer uint32 `conf:"manufacturer" range:"0..1048575"`
	// Number of the product, as its manufacturer assigns it.
	Product uint16 `conf:"product"`
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

const (
	defaultID       = 0x20
	defaultRevision = 1
	ipmiVersion     = 0x02 // 2.0, BCD with the major digit in bits 3:0
)

func getDeviceID(b *BMC, _ *ipmi.Request) ipmi.Response {
	return answer(b.config.Identity.append(nil, b.support)...)
}

func (i Identity) append(data []byte, support ipmi.DeviceSupport) []byte {
	if i.ID == 0 {
		i.ID = defaultID
	}
	if i.Revision == 0 {
		i.Revision = defaultRevision
	}
	data = append(data, i.ID, i.Revision&0x0F, i.Firmware.Major&0x7F, i.Firmware.Minor, ipmiVersion, byte(support),
		byte(i.Manufacturer), byte(i.Manufacturer>>8), byte(i.Manufacturer>>16))
	data = binary.LittleEndian.AppendUint16(data, i.Product)
	if i.Auxiliary != ([4]byte{}) {
		data = append(data, i.Auxiliary[:]...)
	}
	return data
}

// supporting is the command that a BMC answers if it supports something.
var supporting = map[ipmi.DeviceSupport]commandKey{
	ipmi.SupportsSensors:       {ipmi.NetFnSensor, 0x2D},  // Get Sensor Reading
	ipmi.SupportsSDRRepository: {ipmi.NetFnStorage, 0x20}, // Get SDR Repository Info
	ipmi.SupportsSEL:           {ipmi.NetFnStorage, 0x40}, // Get SEL Info
	ipmi.SupportsFRU:           {ipmi.NetFnStorage, 0x10}, // Get FRU Inventory Area Info
	ipmi.SupportsChassis:       {ipmi.NetFnChassis, 0x01}, // Get Chassis Status
}

// supportOf is what commands stand for, and what the bridge in front of the BMC
// adds: it receives events and carries messages.
func supportOf(commands map[commandKey]command) ipmi.DeviceSupport {
	support := ipmi.SupportsEventReceiver | ipmi.SupportsBridge
	for bit, key := range supporting {
		if _, ok := commands[key]; ok {
			support |= bit
		}
	}
	return support
}

// coldReset makes sensors what the configuration says, stops the watchdogs of the
// host, and forgets its ACPI states and that it identifies itself (IPMI v2.0,
// sections 20.2 and 27.6). What other hosts rely on goes on, as does the process.
func coldReset(b *BMC, req *ipmi.Request) ipmi.Response {
	b.stopWatchdogs(func(w *watchdog) bool { return w.host == req.Host })
	for _, s := range b.sensors {
		s.mu.Lock()
		s.initialize()
		s.mu.Unlock()
	}
	b.mu.Lock()
	h := b.host(req.Host)
	h.system, h.device, h.identify = acpiUnknown, acpiUnknown, identifyOff
	b.mu.Unlock()
	return warmReset(b, req)
}

// warmReset ends what others have begun and not finished: reservations and sets in
// progress.
func warmReset(b *BMC, _ *ipmi.Request) ipmi.Response {
	b.log.mu.Lock()
	b.log.holder.cancel()
	b.log.mu.Unlock()
	b.repository.mu.Lock()
	b.repository.holder.cancel()
	b.repository.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.inProgress)
	return answer()
}

// Results of the self test, and what has failed (IPMI v2.0, section 20.4).
const (
	selfTestPassed = 0x55
	selfTestFailed = 0x57   // something is corrupted or cannot be accessed
	faultSEL       = 1 << 7 // the SEL device
)

// getSelfTestResults fails when nothing can be kept any more.
func getSelfTestResults(b *BMC, _ *ipmi.Request) ipmi.Response {
	if b.journal.isBroken() {
		return answer(selfTestFailed, faultSEL)
	}
	return answer(selfTestPassed, 0)
}

func getGUID(b *BMC, _ *ipmi.Request) ipmi.Response {
	return answer(append([]byte(nil), b.config.GUID[:]...)...)
}

// guidSetting is the setting with the random GUID that was made at the first start.
const guidSetting = "guid"

// keptGUID is the GUID in the journal, or a new one.
func (b *BMC) keptGUID() [16]byte {
	if stored := b.journal.value(guidSetting); len(stored) == 16 {
		return [16]byte(stored)
	}
	id := randomGUID()
	// If the GUID cannot be stored, neither can anything else, which the journal reports.
	_ = b.journal.write(putValue(guidSetting, id[:]...))
	return id
}

// randomGUID is a version 4 GUID with its fields in IPMI's order, which is the
// reverse of RFC 4122's (IPMI v2.0, section 20.8).
func randomGUID() (guid [16]byte) {
	rand.Read(guid[:])
	guid[9] = guid[9]&0x0F | 0x40 // version, in the time's high field
	guid[7] = guid[7]&0x3F | 0x80 // variant, in the clock sequence
	return guid
}

// acpiCommands keep the power states that system software tells (IPMI v2.0,
// sections 20.6 and 20.7).
var acpiCommands = []command{
	{ipmi.NetFnApp, 0x06, 2, 2, atOnce, setACPIPowerState},
	{ipmi.NetFnApp, 0x07, 0, 0, atOnce, getACPIPowerState},
}

const (
	acpiSet      = 1 << 7 // the state is to be set
	acpiNoChange = 0x7F
	acpiUnknown  = 0x2A
)

// isSystemState knows S0 to S5, S4 or S5, mechanical off, sleeping, G1 sleeping,
// override, legacy on and off, unknown.
func isSystemState(state byte) bool {
	return state <= 0x0A || state == 0x20 || state == 0x21 || state == acpiUnknown
}

// isDeviceState knows D0 to D3 and unknown.
func isDeviceState(state byte) bool { return state <= 0x03 || state == acpiUnknown }

// setACPIPowerState takes the states of system and device.
func setACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	system, systemOK := acpiState(h.system, req.Data[0], isSystemState)
	device, deviceOK := acpiState(h.device, req.Data[1], isDeviceState)
	if !systemOK || !deviceOK {
		return refuse(ipmi.CodeInvalidField)
	}
	h.system, h.device = system, device
	return answer()
}

// acpiState is what a byte of the request makes of a state.
func acpiState(now, asked byte, valid func(byte) bool) (state byte, ok bool) {
	state = asked &^ acpiSet
	if asked&acpiSet == 0 || state == acpiNoChange {
		return now, true
	}
	return state, valid(state)
}

func getACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	return answer(h.system, h.device)
}
