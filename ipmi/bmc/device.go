package bmc

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"ipmbd/ipmi"
)

// deviceCommands say what the controller is, and start it again (IPMI v2.0,
// sections 20 and 22.14).
var deviceCommands = []command{
	{ipmi.NetFnApp, ipmi.CommandGetDeviceID, 0, 0, getDeviceID},
	{ipmi.NetFnApp, 0x02, 0, 0, coldReset},
	{ipmi.NetFnApp, 0x03, 0, 0, warmReset},
	{ipmi.NetFnApp, 0x04, 0, 0, getSelfTestResults},
	{ipmi.NetFnApp, 0x08, 0, 0, getGUID}, // of the device
	{ipmi.NetFnApp, 0x37, 0, 0, getGUID}, // of the system
}

// Identity is what Get Device ID says beside what the BMC supports (IPMI v2.0,
// section 20.1).
type Identity struct {
	ID            uint8 // of the device; 0 for 20h
	Revision      uint8 // of the device, 0 to 15; 0 for 1
	FirmwareMajor uint8 // 0 to 127
	FirmwareMinor uint8 // BCD: 50h is .50
	Manufacturer  uint32
	Product       uint16
	Auxiliary     [4]byte // firmware revision, the manufacturer's; zero for none
}

const (
	defaultID       = 0x20
	defaultRevision = 1
	ipmiVersion     = 0x02 // 2.0, BCD with the major digit in bits 3:0
)

func getDeviceID(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	return answer(b.config.Identity.append(nil, b.support)...)
}

func (i Identity) append(data []byte, support ipmi.DeviceSupport) []byte {
	if i.ID == 0 {
		i.ID = defaultID
	}
	if i.Revision == 0 {
		i.Revision = defaultRevision
	}
	data = append(data, i.ID, i.Revision&0x0F, i.FirmwareMajor&0x7F, i.FirmwareMinor, ipmiVersion, byte(support),
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

// coldReset stops the watchdogs, too (IPMI v2.0, section 27.6).
func coldReset(b *BMC, ctx context.Context, _ *ipmi.Request) ipmi.Response {
	r := b.reset(ctx, true)
	if r.Code == ipmi.CodeOK {
		b.stopWatchdogs(func(*watchdog) bool { return true })
	}
	return r
}

func warmReset(b *BMC, ctx context.Context, _ *ipmi.Request) ipmi.Response {
	return b.reset(ctx, false)
}

func (b *BMC) reset(ctx context.Context, cold bool) ipmi.Response {
	if b.config.Reset == nil {
		return outcome(ipmi.ErrCannot)
	}
	return outcome(b.config.Reset(ctx, cold))
}

// Fault is what a self test has found, one bit each (IPMI v2.0, section 20.4).
type Fault uint8

// Bits of Fault.
const (
	FaultFirmware    Fault = 1 << iota // operational firmware is corrupted
	FaultBootBlock                     // the firmware that updates the other is
	FaultInternalUse                   // internal use area of the FRU is
	FaultSDREmpty                      // the SDR repository is empty
	FaultIPMB                          // the signal lines do not respond
	FaultFRU                           // the FRU device cannot be accessed
	FaultSDR                           // the SDR repository cannot
	FaultSEL                           // the SEL device cannot
)

// Results of the self test.
const (
	selfTestPassed = 0x55
	selfTestFailed = 0x57 // something is corrupted or cannot be accessed
)

func getSelfTestResults(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	if b.config.SelfTest != nil {
		if fault := b.config.SelfTest(); fault != 0 {
			return answer(selfTestFailed, byte(fault))
		}
	}
	return answer(selfTestPassed, 0)
}

func getGUID(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	return answer(append([]byte(nil), b.config.GUID[:]...)...)
}

// randomGUID is a version 4 GUID with its fields in IPMI's order, which is the
// reverse of RFC 4122's (IPMI v2.0, section 20.8).
func randomGUID() (guid [16]byte) {
	rand.Read(guid[:])
	guid[9] = guid[9]&0x0F | 0x40 // version, in the time's high field
	guid[7] = guid[7]&0x3F | 0x80 // variant, in the clock sequence
	return guid
}
