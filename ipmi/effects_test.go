package ipmi

import "testing"

func TestEffectOf(t *testing.T) {
	for _, c := range []struct {
		name string
		req  Request
		want Effect
	}{
		{"get device ID", Request{NetFn: NetFnApp, Command: 0x01}, NoEffect},
		{"get device ID at an OEM LUN", Request{NetFn: NetFnApp, Command: 0x01, LUN: 1}, NoEffect},
		{"get device ID of host software", Request{NetFn: NetFnApp, Command: 0x01, LUN: 2}, EffectUnknown},
		{"reset watchdog", Request{NetFn: NetFnApp, Command: 0x22}, NoEffect},
		{"clear message flags", Request{NetFn: NetFnApp, Command: 0x30, Data: []byte{1}}, NoEffect},
		{"get message", Request{NetFn: NetFnApp, Command: 0x33}, EffectUnknown},
		{"read event message buffer", Request{NetFn: NetFnApp, Command: 0x35}, EffectUnknown},
		{"reserve the event log", Request{NetFn: NetFnStorage, Command: 0x42}, EffectUnknown},
		{"add an event", Request{NetFn: NetFnStorage, Command: 0x44}, HasEffect},
		{"platform event", Request{NetFn: NetFnSensor, Command: 0x02}, HasEffect},
		{"chassis control", Request{NetFn: NetFnChassis, Command: 0x02}, HasEffect},
		{"chassis identify", Request{NetFn: NetFnChassis, Command: 0x04}, NoEffect},

		{"clear the event log", Request{NetFn: NetFnStorage, Command: 0x47, Data: []byte{1, 0, 'C', 'L', 'R', 0xAA}}, HasEffect},
		{"ask how clearing went", Request{NetFn: NetFnStorage, Command: 0x47, Data: []byte{1, 0, 'C', 'L', 'R', 0x00}}, NoEffect},
		{"ask how clearing the SDRs went", Request{NetFn: NetFnStorage, Command: 0x27, Data: []byte{1, 0, 'C', 'L', 'R', 0x00}}, NoEffect},
		{"clear without data", Request{NetFn: NetFnStorage, Command: 0x47}, HasEffect},
		{"run the initialization agent", Request{NetFn: NetFnStorage, Command: 0x2C, Data: []byte{1}}, HasEffect},
		{"ask for its state", Request{NetFn: NetFnStorage, Command: 0x2C, Data: []byte{0}}, NoEffect},
		{"read statistics", Request{NetFn: NetFnTransport, Command: 0x04, Data: []byte{1, 0}}, NoEffect},
		{"read and clear statistics", Request{NetFn: NetFnTransport, Command: 0x04, Data: []byte{1, 1}}, HasEffect},
		{"write to a device", Request{NetFn: NetFnApp, Command: 0x52, Data: []byte{1, 0xA0, 0, 1, 2}}, HasEffect},
		{"read from a device", Request{NetFn: NetFnApp, Command: 0x52, Data: []byte{1, 0xA0, 1, 1}}, EffectUnknown},
		{"transfer without data", Request{NetFn: NetFnApp, Command: 0x52}, EffectUnknown},

		{"send a read", message(0x18, 0x01), EffectUnknown},
		{"send an event", message(0x10, 0x02, 4, 1, 2, 3), HasEffect},
		{"send an event to all nodes", broadcast(message(0x10, 0x02, 4, 1, 2, 3)), HasEffect},
		{"send an answer", message(0x14, 0x02, 0), EffectUnknown},
		{"send what is no message of IPMB", Request{NetFn: NetFnApp, Command: 0x34, Data: []byte{7, 0x81, 0x10, 0x81, 0x10, 0x81, 0x02, 0}}, EffectUnknown},
		{"send nothing", Request{NetFn: NetFnApp, Command: 0x34}, EffectUnknown},

		{"OEM", Request{NetFn: 0x30, Command: 0x01}, EffectUnknown},
		{"OEM group", Request{NetFn: NetFnOEM, Command: 0x01, Data: []byte{1, 2, 3}}, EffectUnknown},
		{"firmware", Request{NetFn: NetFnFirmware, Command: 0x01}, EffectUnknown},
		{"DCMI power reading", Request{NetFn: NetFnGroup, Command: 0x02, Data: []byte{0xDC, 1, 0, 0}}, NoEffect},
		{"DCMI configuration", Request{NetFn: NetFnGroup, Command: 0x12, Data: []byte{0xDC, 1, 0, 1}}, HasEffect},
		{"group without a table", Request{NetFn: NetFnGroup, Command: 0x02, Data: []byte{0x00}}, EffectUnknown},
		{"group without a body", Request{NetFn: NetFnGroup, Command: 0x02}, EffectUnknown},
		{"no command of the standard", Request{NetFn: NetFnApp, Command: 0x3E}, EffectUnknown},
		{"beyond the last command", Request{NetFn: NetFnApp, Command: 0xFF}, EffectUnknown},
	} {
		if got := EffectOf(&c.req); got != c.want {
			t.Errorf("%s: effect %v, want %v", c.name, got, c.want)
		}
	}
}

// message is Send Message of a request to 2Ch.
func message(netFnLUN, cmd byte, data ...byte) Request {
	frame := []byte{0x2C, netFnLUN, -(0x2C + netFnLUN), 0x20, 0x04, cmd}
	frame = append(frame, data...)
	return Request{NetFn: NetFnApp, Command: 0x34, Data: append(append([]byte{0x40}, frame...), 0)}
}

func broadcast(req Request) Request {
	req.Data = append([]byte{req.Data[0], 0}, req.Data[1:]...)
	return req
}

// The commands that have a name are those that have an effect, or are known to be unknown.
func TestEffectsAreComplete(t *testing.T) {
	unknown := map[string]bool{
		"get-message": true, "read-event-message-buffer": true, "send-message": true, "master-write-read": true,
		"reserve-sel": true, "reserve-sdr-repository": true, "reserve-device-sdr-repository": true,
		"bridge-request": true, "bridge-message": true, "get-ppp-udp-proxy-receive-data": true, "forwarded-command": true,
	}
	for n := range NetFn(len(standardCommands)) {
		for cmd := range 256 {
			req := Request{NetFn: n, Command: Command(cmd)}
			name := ""
			if c := commandOf(n, req.Command); c != nil && !n.IsResponse() {
				name = c.name
			}
			known := EffectOf(&req) != EffectUnknown
			if want := name != "" && !unknown[name]; known != want {
				t.Errorf("%v %02Xh %q: effect %v", n, cmd, name, EffectOf(&req))
			}
		}
	}
}

func TestEffectsByNames(t *testing.T) {
	// A command that reads is one whose name says so, but for those that take or clear.
	for n := range NetFn(len(standardCommands)) {
		for cmd, name := range namesOf(n) {
			req := Request{NetFn: n, Command: Command(cmd)}
			if len(name) > 4 && name[:4] == "get-" && EffectOf(&req) == HasEffect {
				switch name {
				case "get-session-challenge", "get-ip-udp-rmcp-statistics": // without data it is no request to read
				default:
					t.Errorf("%s has an effect", name)
				}
			}
		}
	}
}

func TestMuxEffect(t *testing.T) {
	var m Mux
	mustRegister(t, &m, "a", ChangesNothing(answering(1)), on(AllChannels, 0x30, 0x01))
	mustRegister(t, &m, "b", answering(2), on(AllChannels, 0x30, 0x02))
	m.SetDefault("bus", answering(3))
	for _, c := range []struct {
		req  Request
		want Effect
	}{
		{Request{NetFn: 0x30, Command: 0x01}, NoEffect},
		{Request{NetFn: 0x30, Command: 0x02}, EffectUnknown},
		{Request{NetFn: 0x30, Command: 0x03}, EffectUnknown},
		{Request{Interface: "bus", NetFn: NetFnApp, Command: 0x01}, NoEffect},
		{Request{Interface: "bus", NetFn: NetFnStorage, Command: 0x44}, HasEffect},
	} {
		if got := m.Effect(&c.req); got != c.want {
			t.Errorf("%v %02Xh: effect %v, want %v", c.req.NetFn, uint8(c.req.Command), got, c.want)
		}
	}
}
