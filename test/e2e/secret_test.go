package e2e

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// secret is in each message that may carry one, and harmless in messages that carry none.
var secret, harmless = []byte("Sup3rS3cret"), []byte("c0ntr0l")

// secretData is the data of a request that matches a pattern, or after the completion code of a
// response, with the secret. It is nil if the message carries none.
func secretData(p ipmi.Pattern, response bool) []byte {
	password := packet{to: 0x2C, netFn: 6, from: 0x20, number: 5, cmd: 0x47, data: append([]byte{2, 2}, secret...)}
	switch ask := password.bytes(); {
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x33 && response: // Get Message
		return append([]byte{0}, ask[1:]...)
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x33:
		return nil
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x34 && response: // Send Message
		return password.answer(0, secret...).bytes()
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x34:
		return append([]byte{0}, ask...)
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x52 && response: // Master Write-Read
		return nil
	case p.NetFn == ipmi.NetFnApp && p.Command == 0x52:
		return append([]byte{1, ask[0], 0}, ask[1:]...)
	case p.NetFn == ipmi.NetFnGroup:
		return append([]byte{byte(p.Group)}, secret...)
	}
	return secret
}

// observer is a program below root that does all it can to get messages.
type observer struct {
	t        *testing.T
	conn     *rawConn
	messages chan *dbus.Message // that it has got
}

func newObserver(t *testing.T, address string) *observer {
	t.Helper()
	o := &observer{t: t, messages: make(chan *dbus.Message, maxInbox)}
	bustest.As(nobody, nobody, func() {
		var err error
		if o.conn, err = dialRaw(address); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { o.conn.conn.Close() })
	go func() {
		defer close(o.messages)
		for {
			m, err := dbus.DecodeMessage(o.conn.in)
			if err != nil {
				return
			}
			o.messages <- m
		}
	}()
	return o
}

// call calls a method, and returns the name of the error.
func (o *observer) call(to string, path dbus.ObjectPath, method string, args ...any) string {
	o.t.Helper()
	serial, err := o.conn.send(to, 0, path, method, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	m := o.next(method, func(m *dbus.Message) bool {
		to, ok := m.Headers[dbus.FieldReplySerial].Value().(uint32)
		return ok && to == serial
	})
	name, _ := m.Headers[dbus.FieldErrorName].Value().(string)
	return name
}

// next is the next message of a kind. None before it may have the secret.
func (o *observer) next(what string, is func(*dbus.Message) bool) *dbus.Message {
	o.t.Helper()
	for {
		m := receive(o.t, what, o.messages)
		if m == nil {
			o.t.Fatalf("%s: the observer is disconnected", what)
		}
		if has(o.t, m, secret) {
			o.t.Errorf("a program of nobody got %v", m)
		}
		if is(m) {
			return m
		}
	}
}

// has reports whether a message has these bytes.
func has(t *testing.T, m *dbus.Message, wanted []byte) bool {
	t.Helper()
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b.Bytes(), wanted)
}

// hears waits until the observer has got the harmless message of a way, whose last byte is
// the way.
func (o *observer) hears(member string, way byte) *dbus.Message {
	o.t.Helper()
	return o.next(member, func(m *dbus.Message) bool {
		return m.Headers[dbus.FieldMember].Value() == member && has(o.t, m, append(bytes.Clone(harmless), way))
	})
}

// TestSecretsGoToNobodyBelowRoot: each command that may carry a secret, on each way in, and a
// program of nobody at each way out. The message bus allows that program everything: it hears all
// signals, has answered a host's requests, owns the name of the host daemon, and registers
// handlers. A harmless message of each way reaches it.
func TestSecretsGoToNobodyBelowRoot(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus := bustest.Start(t)
	own, signal, daemon := listen(t, "ipmb-5"), listen(t, "ipmb-6"), listen(t, "ipmb-7")
	for _, n := range []*node{own, signal, daemon} {
		n.respond(0x2C, func(asked packet, send func(packet)) {
			if asked.cmd == 0x52 { // Master Write-Read does not return what it has written.
				asked.data = nil
			}
			echo(asked, send)
		})
	}
	machineConfig, path := vm(t, "host0", nil)
	btConfig, host := bt(t, object{"legacy-api": true})
	quick := func(n *node, index int, handler string) object {
		return channel(n, object{"type": "ipmb", "devIndex": index, "handler": handler, "handler-timeout-ms": 200, "ipmi-channel": 0})
	}
	start(t, bus.Address, hosts([]object{machineConfig, btConfig}, quick(own, 0, "bmc"), quick(signal, 1, "signal"), quick(daemon, 2, "host")))
	m, root, o := boot(t, "unix", path, noAttention), connect(t, bus.Address), newObserver(t, bus.Address)

	// The program comes to all ways out.
	o.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus.AddMatch", "type='signal'")
	o.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus.RequestName", xml.HostDaemonName, uint32(0))
	o.call(service, basePath, router+".Subscribe")
	host.sends(0x30, 1, append(bytes.Clone(harmless), 'h')...)
	asked := o.hears("ReceivedMessage", 'h')
	if name := o.call(hostIPMI, hostIPMIPath, hostIPMI+".sendMessage", asked.Body[0], byte(0x31), byte(0), byte(1), byte(0), []byte{}); name != "" {
		t.Fatal(name)
	}
	host.hears(0x30, 1, "00")
	register := func(p ipmi.Pattern) string {
		row := commands{byte(p.NetFn), byte(p.Command), p.Group, uint32(p.Channels)}
		return o.call(service, basePath, router+".RegisterHandler", dbus.ObjectPath("/handler"), []commands{row})
	}
	for _, p := range ipmi.SecretPatterns() {
		every := p
		every.Command = ipmi.AnyCommand
		for _, p := range []ipmi.Pattern{p, every} {
			if name := register(p); name != xml.ErrorAccessDenied {
				t.Errorf("a handler of %v: %s", p, name)
			}
		}
	}
	if name := register(ipmi.Pattern{NetFn: 0x30, Command: 2, Group: ipmi.AnyGroup, Channels: ipmi.AllChannels}); name != "" {
		t.Errorf("a handler of another command: %s", name)
	}

	ways := 0
	for i, p := range ipmi.SecretPatterns() {
		netFn, cmd := byte(p.NetFn), byte(p.Command)
		if data := secretData(p, true); data != nil {
			for _, n := range []*node{own, signal, daemon} {
				n.send(t, packet{to: 0x20, netFn: netFn | 1, from: 0x2C, number: byte(i), cmd: cmd, data: append([]byte{0}, data...)}.bytes())
				ways++
			}
		}
		data := secretData(p, false)
		if data == nil {
			continue
		}
		for _, n := range []*node{own, signal, daemon} {
			n.askAmong(t, packet{to: 0x20, netFn: netFn, from: 0x2C, number: byte(i), cmd: cmd, data: data})
		}
		m.answer(netFn, cmd, data...)
		host.sends(netFn, cmd, data...)
		host.hears(netFn, cmd, "D4")
		end(t, root.send("bus5", 0x2C, netFn, 0, cmd, data...)) // The response has the secret, too.
		root.legacy(t, 4, netFn, 0, cmd, data...)
		ways += 7
	}

	// What carries no secret comes behind it on each way.
	for i, n := range []*node{own, signal, daemon} {
		way := '5' + byte(i)
		n.send(t, packet{to: 0x20, netFn: 0x30, from: 0x40, number: 1, cmd: 1, data: append(bytes.Clone(harmless), way)}.bytes())
		o.hears("ReceivedMessage", way)
	}
	o.hears("execute", '7')
	host.sends(0x30, 1, append(bytes.Clone(harmless), 'H')...)
	o.hears("ReceivedMessage", 'H')
	m.sends(0x30, 2, append(bytes.Clone(harmless), 'v')...)
	o.hears("execute", 'v')
	own.send(t, packet{to: 0x20, netFn: 0x31, from: 0x2C, number: 1, cmd: 1, data: append([]byte{0}, append(bytes.Clone(harmless), 'r')...)}.bytes())
	o.hears("receiveBroadcast", 'r')
	t.Logf("%d commands, %d messages", len(ipmi.SecretPatterns()), ways)
}

// askAmong sends a request and waits for its answer among other frames.
func (n *node) askAmong(t testing.TB, request packet) packet {
	t.Helper()
	n.send(t, request.bytes())
	for {
		got, ok := unpack(n.next(t))
		if ok && got.isResponse() && got.number == request.number && got.cmd == request.cmd {
			return got
		}
	}
}

// TestSecretsReachRoot: a handler of root serves a command that carries a secret, and so does the
// host daemon.
func TestSecretsReachRoot(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none"})))
	p := newProgram(t, bus.Address, echoes)
	p.mustRegister(t, command(6, 0x47))
	got := n.ask(t, packet{to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 0x47, data: append([]byte{2, 2}, secret...)})
	if got.data[0] != 0 || !strings.Contains(string(got.data), string(secret)) {
		t.Errorf("% X", got.data)
	}
}
