package ipmi

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// CommandGetDeviceID is the App command that every node answers.
const CommandGetDeviceID Command = 0x01

// Lengths in bytes of the three forms of a Get Device ID response, without the completion code: up
// to the support bits as some IPMI 1.0 devices have it, up to the product, and with auxiliary
// firmware revision (as the Linux kernel's ipmi_demangle_device_id reads them).
const (
	basicDeviceID = 6
	shortDeviceID = 11
	longDeviceID  = 15
)

// DeviceID is the response to Get Device ID (IPMI v2.0, table 20-2).
//
//	0    device ID
//	1    bit 7 provides SDRs, bits 3:0 revision
//	2    bit 7 updating or initializing, bits 6:0 firmware major, binary
//	3    firmware minor, BCD
//	4    IPMI version, BCD with the major digit in bits 3:0
//	5    support bits
//	6-8  manufacturer, LSB first
//	9-10 product, LSB first
//	11-14 auxiliary firmware revision, optional
type DeviceID struct {
	ID           uint8
	Revision     uint8 // of the device, 0 to 15
	ProvidesSDRs bool
	// Updating: the firmware or the SDRs are being updated, or the device initializes itself. It
	// may not answer other commands.
	Updating      bool
	FirmwareMajor uint8 // 0 to 127
	FirmwareMinor uint8 // BCD as on the wire: 50h is .50
	IPMIMajor     uint8
	IPMIMinor     uint8
	Support       DeviceSupport
	Manufacturer  uint32  // IANA enterprise number; 0 is not specified
	Product       uint16  // the manufacturer's number
	Auxiliary     [4]byte // firmware revision, MSB first; the manufacturer's meaning
	HasAuxiliary  bool
}

// DeviceSupport is the set of functions that a device has, beside the function of a responder, one
// bit each.
type DeviceSupport uint8

// Bits of DeviceSupport (IPMI v2.0, table 20-2).
const (
	SupportsSensors DeviceSupport = 1 << iota
	SupportsSDRRepository
	SupportsSEL
	SupportsFRU
	SupportsEventReceiver
	SupportsEventGenerator
	SupportsBridge
	SupportsChassis
)

var supportNames = [8]string{
	"sensors", "SDR repository", "SEL", "FRU inventory",
	"event receiver", "event generator", "bridge", "chassis",
}

// DecodeDeviceID reads the data of a Get Device ID response, which begins after the completion
// code. Fields after the end of the data stay zero. It is an error if the data end before the
// support bits.
func DecodeDeviceID(data []byte) (DeviceID, error) {
	if len(data) < basicDeviceID {
		return DeviceID{}, fmt.Errorf("the length of the device ID is %d, less than %d", len(data), basicDeviceID)
	}
	d := DeviceID{
		ID:            data[0],
		Revision:      data[1] & 0x0F,
		ProvidesSDRs:  data[1]&0x80 != 0,
		FirmwareMajor: data[2] & 0x7F,
		Updating:      data[2]&0x80 != 0,
		FirmwareMinor: data[3],
		IPMIMajor:     data[4] & 0x0F,
		IPMIMinor:     data[4] >> 4,
		Support:       DeviceSupport(data[5]),
	}
	if len(data) >= shortDeviceID {
		// Bits 23:20 are reserved; manufacturers with numbers of more than 20 bits use them.
		d.Manufacturer = uint32(data[6]) | uint32(data[7])<<8 | uint32(data[8])<<16
		d.Product = binary.LittleEndian.Uint16(data[9:])
	}
	if len(data) >= longDeviceID {
		d.Auxiliary = [4]byte(data[11:])
		d.HasAuxiliary = true
	}
	return d, nil
}

// Firmware is the firmware revision: "4.50".
func (d DeviceID) Firmware() string {
	return fmt.Sprintf("%d.%02X", d.FirmwareMajor, d.FirmwareMinor)
}

// IPMIVersion is the device's version of IPMI: "2.0".
func (d DeviceID) IPMIVersion() string {
	return fmt.Sprintf("%d.%d", d.IPMIMajor, d.IPMIMinor)
}

// String is the whole response in one line.
func (d DeviceID) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "device %02Xh revision %d, firmware %s", d.ID, d.Revision, d.Firmware())
	if d.HasAuxiliary {
		fmt.Fprintf(&b, " (%X)", d.Auxiliary)
	}
	if d.Updating {
		b.WriteString(" updating")
	}
	fmt.Fprintf(&b, ", IPMI %s, manufacturer %d, product %04Xh", d.IPMIVersion(), d.Manufacturer, d.Product)
	if d.ProvidesSDRs {
		b.WriteString(", device SDRs")
	}
	if d.Support != 0 {
		b.WriteString(", " + d.Support.String())
	}
	return b.String()
}

// String names the bits that are set: "SEL, FRU inventory", or "none".
func (s DeviceSupport) String() string {
	var set []string
	for bit, name := range supportNames {
		if s>>bit&1 != 0 {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, ", ")
}
