package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Clients that misbehave. Afterwards the service is as before.
func TestClientsThatMisbehave(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			l.run("systemctl", "start", vmSocket, service)
			m := l.boot(vmPath)
			l.send()
			descriptors := l.descriptors()
			for _, client := range []struct {
				name       string
				misbehaves func(l *lab)
			}{
				{"calls and does not read", (*lab).callsWithoutReading},
				{"a thousand match rules", (*lab).matches},
				{"dies with 64 calls in flight", (*lab).diesInFlight},
				{"the longest arguments", (*lab).sendsTheLongest},
			} {
				client.misbehaves(l)
				took(t, client.name+", then a call", func() {
					if said := l.send(); said != answered {
						t.Errorf("%s, then: %s", client.name, said)
					}
				})
				m.asks()
				t.Logf("%s: at most %d MiB so far", client.name, l.peak()>>20)
			}
			eventually(t, "as many descriptors as before", func() bool { return l.descriptors() == descriptors })
			l.isUnharmed()
		})
	}
}

// isUnharmed checks a service after a client that misbehaved.
func (l *lab) isUnharmed() {
	l.t.Helper()
	for property, want := range map[string]string{"Result": "success", "NRestarts": "0", "ActiveState": "active"} {
		if got := l.show(service, property); got != want {
			l.t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	limit, err := strconv.ParseUint(l.show(service, "MemoryMax"), 10, 64)
	if peak := l.peak(); err != nil || peak > limit {
		l.t.Errorf("it had %d bytes, of %d, %v", peak, limit, err)
	}
}

// peak is the most memory that the service had resident, in bytes.
func (l *lab) peak() uint64 {
	l.t.Helper()
	status, err := os.ReadFile(l.daemon() + "/status")
	if err != nil {
		l.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	if found == nil {
		l.t.Fatalf("no VmHWM in:\n%s", status)
	}
	kilobytes, err := strconv.ParseUint(string(found[1]), 10, 64)
	if err != nil {
		l.t.Fatal(err)
	}
	return kilobytes << 10
}

// callsWithoutReading floods the service with calls and reads no replies. The message bus keeps
// some of the calls.
func (l *lab) callsWithoutReading() {
	l.t.Helper()
	const calls = 5000
	for _, flags := range []dbus.Flags{0, dbus.FlagNoReplyExpected} {
		conn := l.deaf()
		written := 0
		for ; written < calls; written++ {
			if _, err := conn.Write(l.message(uint32(written+2), flags, name, bus0, name, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{1})); err != nil {
				break // The message bus has had enough.
			}
		}
		l.t.Logf("%d of %d calls have been taken", written, calls)
		// It goes when the service has had its calls.
		if err := l.dial("root").Object(name, base).Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
			l.t.Error(err)
		}
		conn.Close()
	}
}

// deaf is a connection to the message bus that no library reads.
func (l *lab) deaf() net.Conn {
	l.t.Helper()
	conn, err := net.Dial("unix", l.path(systemBus))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	// The SASL part of the D-Bus specification: 30 is the user 0.
	if _, err := conn.Write([]byte("\x00AUTH EXTERNAL 30\r\n")); err != nil {
		l.t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") {
		l.t.Fatalf("%q, %v", line, err)
	}
	hello := l.message(1, 0, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
	if _, err := conn.Write(append([]byte("BEGIN\r\n"), hello...)); err != nil {
		l.t.Fatal(err)
	}
	return conn
}

// message is a method call as it is sent.
func (l *lab) message(serial uint32, flags dbus.Flags, to string, path dbus.ObjectPath, iface, member string, arguments ...any) []byte {
	l.t.Helper()
	message := dbus.Message{Type: dbus.TypeMethodCall, Flags: flags, Body: arguments, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldPath:        dbus.MakeVariant(path),
		dbus.FieldInterface:   dbus.MakeVariant(iface),
		dbus.FieldMember:      dbus.MakeVariant(member),
	}}
	if len(arguments) > 0 {
		message.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(arguments...))
	}
	var b bytes.Buffer
	if err := message.EncodeTo(&b, binary.LittleEndian); err != nil {
		l.t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(b.Bytes()[8:], serial)
	return b.Bytes()
}

func (l *lab) matches() {
	l.t.Helper()
	conn := l.dial("root")
	defer conn.Close()
	refused := 0
	for i := range 1000 {
		err := conn.AddMatchSignal(dbus.WithMatchSender(name), dbus.WithMatchArg(1, fmt.Sprint(i)))
		switch {
		case overLimit(err):
			refused++
		case err != nil:
			l.t.Fatal(err)
		}
	}
	l.t.Logf("%d of 1000 rules are refused", refused)
	if said := l.send(); said != answered {
		l.t.Errorf("with so many rules: %s", said)
	}
}

// diesInFlight leaves calls without their client.
func (l *lab) diesInFlight() {
	l.t.Helper()
	const calls = 64
	root := l.dial("root")
	defer root.Close()
	started, _ := l.calls(root)
	conn := l.dial("root")
	for range calls {
		conn.Object(name, bus0).Go(name+".sendRequest", dbus.FlagNoReplyExpected, nil, byte(0), byte(0x30), byte(0), byte(silence), []byte{})
	}
	eventually(l.t, "the calls have begun", func() bool { now, _ := l.calls(root); return now == started+calls })
	conn.Close()
	eventually(l.t, "the calls have ended", func() bool { now, ended := l.calls(root); return now == ended })
}

// calls is how many calls of the bus have begun and how many have ended, however.
func (l *lab) calls(root *dbus.Conn) (started, ended uint64) {
	l.t.Helper()
	var statistics map[string]uint64
	if err := root.Object(name, bus0).Call(name+".GetStatistics", 0).Store(&statistics); err != nil {
		l.t.Fatal(err)
	}
	for counter, n := range statistics {
		switch {
		case counter == "calls-started":
			started = n
		case strings.HasPrefix(counter, "calls-"):
			ended += n
		}
	}
	return started, ended
}

// sendsTheLongest sends the longest messages that dbus-daemon passes on, several at once, and some
// as a user that may only read.
func (l *lab) sendsTheLongest() {
	l.t.Helper()
	const longest = 32<<20 - 1024 // beside the header
	// The library takes seconds for that many bytes: they are appended to a message without any.
	request := l.message(2, 0, name, bus0, name, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{})
	for _, at := range []int{4, len(request) - 4} { // the lengths of the body and of the array
		binary.LittleEndian.PutUint32(request[at:], binary.LittleEndian.Uint32(request[at:])+longest)
	}
	request = append(request, make([]byte, longest)...)
	var sending sync.WaitGroup
	for range 2 {
		conn := l.deaf()
		sending.Go(func() {
			defer conn.Close()
			l.refused("root", sendAndRead(conn, request))
		})
	}
	for range 2 {
		bus := l.dial("nobody").Object(name, bus0)
		sending.Go(func() {
			l.refused("nobody", bus.Call("org.freedesktop.DBus.Properties.Get", 0, name, strings.Repeat("x", longest)).Err)
		})
	}
	sending.Wait()
}

// refused looks whether a call was over a limit.
func (l *lab) refused(user string, err error) {
	if !overLimit(err) {
		l.t.Errorf("what %s sends: %.200s", user, fmt.Sprint(err))
	}
}

// sendAndRead sends a call and reads until there is an error for it.
func sendAndRead(conn net.Conn, call []byte) error {
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		return err
	}
	if _, err := conn.Write(call); err != nil {
		return err
	}
	serial := binary.LittleEndian.Uint32(call[8:])
	for {
		message, err := dbus.DecodeMessage(conn)
		if err != nil {
			return err
		}
		if message.Headers[dbus.FieldReplySerial].Value() == serial {
			return dbus.Error{Name: fmt.Sprint(message.Headers[dbus.FieldErrorName].Value()), Body: message.Body}
		}
	}
}

func overLimit(err error) bool {
	var failed dbus.Error
	return errors.As(err, &failed) && failed.Name == "org.freedesktop.DBus.Error.LimitsExceeded"
}
