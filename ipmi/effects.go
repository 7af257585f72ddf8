package ipmi

// Effect is the effect of serving one request twice. A requester repeats a request whose response
// was lost, and nothing in the frame tells the repeat from a new request that is equal: the
// command decides which mistake is worse.
type Effect uint8

const (
	// EffectUnknown is the effect of commands that the standard does not define (OEM, groups,
	// firmware), and of commands that take something out of a queue. If they are served again, the
	// lost response is lost for good. If they are not, the response may be stale.
	EffectUnknown Effect = iota
	// NoEffect is the effect of commands that change nothing, or that leave the same state behind
	// when they are served twice.
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

// EffectTeller is a Handler that knows the effect of its commands better than EffectOf does.
// Effect must not block.
type EffectTeller interface {
	Effect(req *Request) Effect
}

// ChangesNothing makes h a handler for Register whose commands all have NoEffect.
func ChangesNothing(h Handler) Handler { return harmless{h} }

type harmless struct{ Handler }

// Effect implements EffectTeller.
func (harmless) Effect(*Request) Effect { return NoEffect }

// Effect implements EffectTeller. It returns the effect that the handler of the request tells, or
// else the result of EffectOf.
func (m *Mux) Effect(req *Request) Effect {
	if teller, ok := m.load().handlerOf(req).(EffectTeller); ok {
		if e := teller.Effect(req); e != EffectUnknown {
			return e
		}
	}
	return EffectOf(req)
}

// EffectOf returns the effect of a standard command, EffectUnknown for all others.
func EffectOf(req *Request) Effect {
	if req.LUN == SMSLUN {
		return EffectUnknown // System software takes the request out of a queue.
	}
	if req.NetFn == NetFnGroup && req.Group() == groupDCMI && int(req.Command) < len(dcmiEffects) {
		return dcmiEffects[req.Command]
	}
	c := commandOf(req.NetFn, req.Command)
	switch {
	case c == nil || req.NetFn.IsResponse():
		return EffectUnknown
	case c.effect == byData:
		return effectByData(req.NetFn, req.Command, req.Data)
	}
	return c.effect
}

// groupDCMI is the body code of DCMI.
const groupDCMI = 0xDC

// dcmiEffects are the effects of the commands of DCMI (DCMI v1.5, table 6-1).
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

// effectOfMessage returns the effect of Send Message (section 22.7): the effect of the request in
// it, if it has a request in the form of IPMB. If that has an effect, so has the message. For all
// others the effect is unknown, since a response may go to a queue.
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

// effectOfTransfer returns the effect of Master Write-Read (section 22.11). The data written may
// be the register to read from; a read may change a device.
func effectOfTransfer(data []byte) Effect {
	if len(data) >= 3 && data[2] == 0 {
		return HasEffect
	}
	return EffectUnknown
}
