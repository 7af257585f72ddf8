package ipmi

// Effect says what it means to serve one request twice. A requester repeats a
// request whose answer was lost, and nothing in the frame tells the repeat from a
// new request that is equal: the command decides which mistake is worse.
type Effect uint8

const (
	// EffectUnknown is the effect of commands without a table (OEM, groups, firmware), and
	// of commands that take something out of a queue: if they are served again, the lost
	// answer is lost for good, and if they are not, the answer may be stale.
	EffectUnknown Effect = iota
	// NoEffect is the effect of commands that change nothing, or that leave the same state
	// behind when they are served twice.
	NoEffect
	// HasEffect is the effect of commands that must be served once.
	HasEffect
)

// String is the effect in one word.
func (e Effect) String() string {
	switch e {
	case NoEffect:
		return "none"
	case HasEffect:
		return "some"
	}
	return "unknown"
}

// EffectTeller is implemented by handlers that know the effect of their commands
// better than the table of EffectOf does. Effect must not block.
type EffectTeller interface {
	Effect(req *Request) Effect
}

// ChangesNothing is h as a handler for Register, all of whose commands have NoEffect.
func ChangesNothing(h Handler) Handler { return harmless{h} }

type harmless struct{ Handler }

// Effect implements EffectTeller.
func (harmless) Effect(*Request) Effect { return NoEffect }

// Effect implements EffectTeller: what the handler of the request tells, and else
// what EffectOf says.
func (m *Mux) Effect(req *Request) Effect {
	if teller, ok := m.load().find(req).(EffectTeller); ok {
		if e := teller.Effect(req); e != EffectUnknown {
			return e
		}
	}
	return EffectOf(req)
}

// EffectOf is the effect of a standard command, EffectUnknown for all others.
func EffectOf(req *Request) Effect {
	switch {
	case req.LUN == SMSLUN:
		return EffectUnknown // Host software takes the request out of a queue.
	case req.NetFn == NetFnGroup && req.Group() == groupDCMI && int(req.Command) < len(dcmiEffects):
		return dcmiEffects[req.Command]
	case int(req.NetFn) >= len(commandEffects) || int(req.Command) >= len(commandEffects[req.NetFn]):
		return EffectUnknown
	}
	e := commandEffects[req.NetFn][req.Command]
	if e == byData {
		return effectByData(req.NetFn, req.Command, req.Data)
	}
	return e
}

// Values of commandEffects besides the Effects.
const (
	none = NoEffect
	some = HasEffect
	// twice is a command that sets something to a value that it names: a second time
	// changes nothing, and one that is taken for a repeat by mistake would be missed.
	twice = NoEffect
	// takes is a command that takes something out or hands something out: a message,
	// an event, a reservation.
	takes = EffectUnknown
	// byData is a command whose data decide.
	byData Effect = 0xFF
)

// commandEffects are the effects of the standard commands by network function and
// number (the commands of IPMI v2.0, table G-1; bridge: ICMB v1.0). Parameters with
// a "set in progress" (01h/08h, 04h/12h, 06h/58h, 0Ch/01h) refuse a second start, so
// that setting them has an effect.
var commandEffects = [...][]Effect{
	NetFnChassis: {
		0x00: none, 0x01: none, // capabilities, status
		0x02: some, 0x03: some, // control, reset
		0x04: twice,              // identify
		0x05: twice, 0x06: twice, // capabilities, power restore policy
		0x07: none,             // restart cause
		0x08: some, 0x09: none, // boot options
		0x0A: twice, 0x0B: twice, // front panel, power cycle interval
		0x0F: none, // power-on hours
	},
	NetFnBridge: {
		0x00: none, 0x01: some, 0x02: none, 0x03: some, 0x04: some, 0x05: none, 0x06: none, // management
		0x08: some, 0x09: none, 0x0A: none, 0x0B: none, 0x0C: some,
		0x10: some, 0x11: none, 0x12: some, 0x13: none, 0x14: some, // discovery
		0x20: takes, 0x21: takes, // any command of another chassis
		0x30: none, 0x31: some, 0x32: some, 0x33: some, 0x34: none, 0x35: none, // events
		0xFF: some,
	},
	NetFnSensor: {
		0x00: some, 0x01: none, // event receiver: setting it rearms events
		0x02: some,              // platform event
		0x10: none, 0x11: twice, // PEF: capabilities, postpone timer
		0x12: some, 0x13: none, // PEF parameters
		0x14: twice, 0x15: none, // last processed event
		0x16: some, 0x17: some, // alert, acknowledge
		0x20: none, 0x21: none, // device SDRs
		0x22: takes,             // reservation
		0x23: none,              // factors
		0x24: twice, 0x25: none, // hysteresis
		0x26: twice, 0x27: none, // thresholds
		0x28: twice, 0x29: none, // event enable
		0x2A: some, 0x2B: none, // rearm, event status
		0x2D: none,              // reading
		0x2E: twice, 0x2F: none, // type
		0x30: some, // set reading and event status: may flip bits and cause an event
	},
	NetFnApp: {
		0x01: none, 0x02: some, 0x03: some, 0x04: none, 0x05: some, // ID, resets, self test, test mode
		0x06: twice, 0x07: none, 0x08: none, // ACPI power state, GUID
		0x09: none, 0x0A: none, 0x0B: none, 0x0C: none, 0x0D: none, // supported commands
		0x22: twice, 0x24: twice, 0x25: none, // watchdog
		0x2E: twice, 0x2F: none, // global enables
		0x30: twice, 0x31: none, // message flags
		0x32: twice, 0x33: takes, 0x34: byData, 0x35: takes, // messages
		0x36: none, 0x37: none, // BT capabilities, system GUID
		0x38: none, 0x39: some, 0x3A: some, 0x3B: some, 0x3C: some, 0x3D: none, 0x3F: none, // sessions
		0x40: twice, 0x41: none, 0x42: none, // channels
		0x43: twice, 0x44: none, 0x45: twice, 0x46: none, 0x47: some, // users: a wrong password is counted
		0x48: some, 0x49: some, 0x4A: none, 0x4B: none, 0x4C: twice, 0x4D: none, // payloads
		0x4E: none, 0x4F: none, 0x50: none,
		0x52: byData,
		0x54: none, 0x55: some, 0x56: some, 0x57: none, // cipher suites, keys, interface capabilities
		0x58: some, 0x59: none, // system info
		0x60: twice, 0x61: none, 0x62: twice, 0x63: none, 0x64: none, // firmware firewall
	},
	NetFnStorage: {
		0x10: none, 0x11: none, 0x12: some, // FRU inventory
		0x20: none, 0x21: none, 0x22: takes, 0x23: none, // SDR repository
		0x24: some, 0x25: some, 0x26: some, 0x27: byData,
		0x28: none, 0x29: some, 0x2A: some, 0x2B: some, 0x2C: byData,
		0x40: none, 0x41: none, 0x42: takes, 0x43: none, // event log
		0x44: some, 0x45: some, 0x46: some, 0x47: byData,
		0x48: none, 0x49: some,
		0x5A: none, 0x5B: some, 0x5C: none, 0x5D: twice,
	},
	NetFnTransport: {
		0x01: some, 0x02: none, 0x03: twice, 0x04: byData, // LAN
		0x10: some, 0x11: none, 0x12: some, 0x13: none, 0x14: some, 0x15: none, // serial and modem
		0x16: some, 0x17: takes, 0x18: some, 0x19: some, 0x1A: some, 0x1B: none, 0x1C: some,
		0x20: some, 0x21: some, 0x22: none, // serial over LAN
		0x30: takes, 0x31: some, 0x32: none, 0x33: some, // command forwarding
	},
}

// groupDCMI is the body code of DCMI.
const groupDCMI = 0xDC

// dcmiEffects are those of the commands of DCMI (DCMI v1.5, table 6-1).
var dcmiEffects = [...]Effect{
	0x01: none, 0x02: none, // capabilities, power reading
	0x03: none, 0x04: twice, 0x05: twice, // power limit
	0x06: none, 0x07: none, 0x08: twice, // asset tag, sensor info, asset tag
	0x09: none, 0x0A: twice, // controller identifier
	0x0B: twice, 0x0C: none, // thermal limit
	0x10: none,             // temperatures
	0x12: some, 0x13: none, // configuration: may start DHCP
}

// effectByData is the effect of the commands that are byData.
func effectByData(n NetFn, cmd Command, data []byte) Effect {
	switch {
	case n == NetFnApp && cmd == 0x34:
		return effectOfMessage(data)
	case n == NetFnApp && cmd == 0x52:
		return effectOfTransfer(data)
	case n == NetFnStorage && cmd == 0x2C: // run, or ask how it went (section 33.21)
		return someIf(len(data) != 1 || data[0]&1 != 0)
	case n == NetFnStorage: // clear, or ask how it went (sections 31.9 and 33.16)
		return someIf(len(data) != 6 || data[5] != 0x00)
	}
	return someIf(len(data) != 2 || data[1]&1 != 0) // statistics: read and clear (section 23.4)
}

func someIf(condition bool) Effect {
	if condition {
		return HasEffect
	}
	return NoEffect
}

// effectOfMessage is that of Send Message (section 22.7): of the request in it, if it
// has one in the form of IPMB. A message that must not be sent twice has an effect;
// for all others it is unknown, since an answer may go to a queue.
func effectOfMessage(data []byte) Effect {
	const header, least = 3, 7 // bytes of a request's header, and of a whole one
	if len(data) == 0 {
		return EffectUnknown
	}
	frame := data[1:]
	if len(frame) > least && frame[0] == 0 {
		frame = frame[1:] // to all nodes
	}
	if len(frame) < least || frame[0]+frame[1]+frame[2] != 0 || NetFn(frame[1]>>2).IsResponse() {
		return EffectUnknown
	}
	inner := Request{
		NetFn:   NetFn(frame[1] >> 2),
		LUN:     LUN(frame[1] & 3),
		Command: Command(frame[5]),
		Data:    frame[2*header : len(frame)-1],
	}
	if EffectOf(&inner) == HasEffect {
		return HasEffect
	}
	return EffectUnknown
}

// effectOfTransfer is that of Master Write-Read (section 22.11). The data written may
// be the register to read from; a device may change by being read.
func effectOfTransfer(data []byte) Effect {
	if len(data) >= 3 && data[2] == 0 {
		return HasEffect
	}
	return EffectUnknown
}
