package record

import (
	"fmt"
	"slices"
	"strings"
)

// Event types with a meaning of their own (IPMI v2.0, table 42-1).
const (
	thresholdType      = 0x01
	sensorSpecificType = 0x6F
	firstOEMType       = 0x70

	firstOEMSensor = 0xC0 // of sensor types
)

// event is an event in words. Readings and thresholds are raw: the generator's sensor data
// records say how many degrees or volts they are.
func (r Record) event() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %02Xh: %s", sensorType(r[10]), r[11], r.happening())
	if r[12]&0x80 == 0 {
		b.WriteString(" asserted")
	} else {
		b.WriteString(" deasserted")
	}
	threshold := r.eventType() == thresholdType
	if kind := r[13] >> 6; kind != kindUnspecified {
		name := "data 2"
		if threshold && kind == kindTrigger {
			name = "reading"
		}
		fmt.Fprintf(&b, ", %s %02Xh%s", name, r[14], r.dataMeaning(2, kind))
	}
	if kind := r[13] >> 4 & 3; kind != kindUnspecified {
		name := "data 3"
		if threshold && kind == kindTrigger {
			name = "threshold"
		}
		fmt.Fprintf(&b, ", %s %02Xh%s", name, r[15], r.dataMeaning(3, kind))
	}
	return b.String()
}

func (r Record) eventType() uint8 { return r[12] & 0x7F }

// happening is the event without its data.
func (r Record) happening() string {
	kind, offset, names := r.eventType(), r[13]&0x0F, r.eventNames()
	switch {
	case int(offset) < len(names) && names[offset] != "":
		return names[offset]
	case kind >= firstOEMType:
		return fmt.Sprintf("OEM event %02Xh/%d", kind, offset)
	}
	return fmt.Sprintf("event %02Xh/%d", kind, offset)
}

// eventNames are the names of the events of the record's type, by offset.
func (r Record) eventNames() []string {
	switch kind := r.eventType(); {
	case int(kind) < len(genericEvents):
		return genericEvents[kind]
	case kind == sensorSpecificType && int(r[10]) < len(sensorTypes):
		return sensorTypes[r[10]].events
	}
	return nil
}

func sensorType(t uint8) string {
	switch {
	case int(t) < len(sensorTypes) && sensorTypes[t].name != "":
		return sensorTypes[t].name
	case t >= firstOEMSensor:
		return fmt.Sprintf("OEM sensor type %02Xh", t)
	}
	return fmt.Sprintf("sensor type %02Xh", t)
}

// genericEvents are the events of each generic event type, by offset (IPMI v2.0, table 42-2).
var genericEvents = [...][]string{
	thresholdType: {
		"lower non-critical going low", "lower non-critical going high",
		"lower critical going low", "lower critical going high",
		"lower non-recoverable going low", "lower non-recoverable going high",
		"upper non-critical going low", "upper non-critical going high",
		"upper critical going low", "upper critical going high",
		"upper non-recoverable going low", "upper non-recoverable going high",
	},
	0x02: {"transition to idle", "transition to active", "transition to busy"},
	0x03: {"state off", "state on"},
	0x04: {"predictive failure off", "predictive failure"},
	0x05: {"limit not exceeded", "limit exceeded"},
	0x06: {"performance met", "performance lags"},
	0x07: {
		"transition to ok", "transition to non-critical from ok", "transition to critical from less severe",
		"transition to non-recoverable from less severe", "transition to non-critical from more severe",
		"transition to critical from non-recoverable", "transition to non-recoverable", "monitor", "informational",
	},
	0x08: {"absent", "present"},
	0x09: {"disabled", "enabled"},
	0x0A: {
		"transition to running", "transition to in test", "transition to power off", "transition to on line",
		"transition to off line", "transition to off duty", "transition to degraded", "transition to power save",
		"install error",
	},
	0x0B: {
		"fully redundant", "redundancy lost", "redundancy degraded", "non-redundant: sufficient from redundant",
		"non-redundant: sufficient from insufficient", "non-redundant: insufficient",
		"redundancy degraded from fully redundant", "redundancy degraded from non-redundant",
	},
	0x0C: {"D0 power state", "D1 power state", "D2 power state", "D3 power state"},
}

// sensorTypes are the names of the sensor types, and their specific events by offset (IPMI v2.0,
// table 42-3).
var sensorTypes = [...]struct {
	name   string
	events []string
}{
	0x01: {"temperature", nil}, 0x02: {"voltage", nil}, 0x03: {"current", nil}, 0x04: {"fan", nil},
	0x05: {"physical security", []string{
		"chassis intrusion", "drive bay intrusion", "I/O card area intrusion", "processor area intrusion",
		"LAN leash lost", "unauthorized dock", "fan area intrusion",
	}},
	0x06: {"platform security", []string{
		"front panel lockout violation attempted", "user password violation", "setup password violation",
		"network boot password violation", "other pre-boot password violation", "out-of-band password violation",
	}},
	0x07: {"processor", []string{
		"IERR", "thermal trip", "FRB1/BIST failure", "FRB2/hang in POST failure", "FRB3/startup failure",
		"configuration error", "uncorrectable CPU-complex error", "presence detected", "disabled",
		"terminator presence detected", "automatically throttled", "uncorrectable machine check",
		"correctable machine check error",
	}},
	0x08: {"power supply", []string{
		"presence detected", "failure detected", "predictive failure", "input lost", "input lost or out of range",
		"input out of range but present", "configuration error", "inactive",
	}},
	0x09: {"power unit", []string{
		"power off", "power cycle", "240 VA power down", "interlock power down", "AC lost",
		"soft power control failure", "failure detected", "predictive failure",
	}},
	0x0A: {"cooling device", nil}, 0x0B: {"other units-based sensor", nil},
	0x0C: {"memory", []string{
		"correctable ECC", "uncorrectable ECC", "parity error", "scrub failed", "device disabled",
		"correctable ECC logging limit reached", "presence detected", "configuration error", "spare",
		"automatically throttled", "critical overtemperature",
	}},
	0x0D: {"drive slot", []string{
		"presence detected", "drive fault", "predictive failure", "hot spare", "consistency check in progress",
		"in critical array", "in failed array", "rebuild in progress", "rebuild aborted",
	}},
	0x0E: {"POST memory resize", nil},
	0x0F: {"system firmware progress", []string{"error", "hang", "progress"}},
	0x10: {"event logging", []string{
		"correctable memory error logging disabled", "logging of an event type disabled", "log area cleared",
		"all event logging disabled", "log full", "log almost full",
		"correctable machine check error logging disabled",
	}},
	0x11: {"watchdog 1", []string{
		"BIOS reset", "OS reset", "OS shutdown", "OS power down", "OS power cycle", "OS NMI or diagnostic interrupt",
		"OS expired, status only", "OS pre-timeout interrupt",
	}},
	0x12: {"system event", []string{
		"system reconfigured", "OEM system boot event", "undetermined system hardware failure",
		"entry added to auxiliary log", "platform event filter action", "time stamp clock synchronization",
	}},
	0x13: {"critical interrupt", []string{
		"front panel NMI or diagnostic interrupt", "bus timeout", "I/O channel check NMI", "software NMI",
		"PCI PERR", "PCI SERR", "EISA fail-safe timeout", "bus correctable error", "bus uncorrectable error",
		"fatal NMI", "bus fatal error", "bus degraded",
	}},
	0x14: {"button", []string{"power button", "sleep button", "reset button", "FRU latch open", "FRU service request"}},
	0x15: {"module or board", nil}, 0x16: {"microcontroller", nil}, 0x17: {"add-in card", nil},
	0x18: {"chassis", nil},
	0x19: {"chip set", []string{"soft power control failure", "thermal trip"}},
	0x1A: {"other FRU", nil},
	0x1B: {"cable or interconnect", []string{"connected", "configuration error"}},
	0x1C: {"terminator", nil},
	0x1D: {"system boot", []string{
		"power up", "hard reset", "warm reset", "user requested PXE boot", "automatic boot to diagnostic",
		"OS initiated hard reset", "OS initiated warm reset", "system restart",
	}},
	0x1E: {"boot error", []string{
		"no bootable media", "non-bootable disk in drive", "PXE server not found", "invalid boot sector",
		"timeout waiting for selection of boot source",
	}},
	0x1F: {"OS boot", []string{
		"A: boot completed", "C: boot completed", "PXE boot completed", "diagnostic boot completed",
		"CD-ROM boot completed", "ROM boot completed", "boot completed", "installation started",
		"installation completed", "installation aborted", "installation failed",
	}},
	0x20: {"OS stop", []string{
		"critical stop during load", "run-time critical stop", "graceful stop", "graceful shutdown",
		"soft shutdown by platform event filter", "agent not responding",
	}},
	0x21: {"slot or connector", []string{
		"fault", "identify", "device installed", "ready for installation", "ready for removal", "power off",
		"removal requested", "interlock", "disabled", "spare device",
	}},
	0x22: {"ACPI power state", slices.Concat(acpiStates, []string{"", "unknown"})},
	0x23: {"watchdog 2", []string{
		"expired, status only", "hard reset", "power down", "power cycle", "", "", "", "", "timer interrupt",
	}},
	0x24: {"platform alert", []string{"page", "LAN alert", "event trap", "SNMP trap"}},
	0x25: {"entity presence", []string{"present", "absent", "disabled"}},
	0x26: {"monitor chip", nil},
	0x27: {"LAN", []string{"heartbeat lost", "heartbeat"}},
	0x28: {"management subsystem health", []string{
		"sensor access degraded", "controller access degraded", "controller off line", "controller unavailable",
		"sensor failure", "FRU failure",
	}},
	0x29: {"battery", []string{"low", "failed", "presence detected"}},
	0x2A: {"session audit", []string{
		"session activated", "session deactivated", "invalid user name or password", "user disabled by invalid password",
	}},
	0x2B: {"version change", []string{
		"hardware change detected", "firmware or software change detected", "hardware incompatibility detected",
		"firmware or software incompatibility detected", "invalid hardware version",
		"invalid firmware or software version", "hardware change succeeded", "firmware or software change succeeded",
	}},
	0x2C: {"FRU state", fruStates},
}
