package openbmc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// fakeLog is a program that serves the system event log.
type fakeLog struct {
	conn *dbuswire.Conn
	end  chan struct{} // closed at the end of the test

	mu       sync.Mutex
	looks    int // how often it was introspected
	document func() string
	reply    func() ([]any, error)
	calls    [][]any // member, signature and arguments
}

// startLog starts a program that has methods of these names and types of
// arguments, and takes the name of the log, or waits for it.
func startLog(t *testing.T, bus *bustest.Bus, methods ...string) *fakeLog {
	t.Helper()
	l := &fakeLog{end: make(chan struct{})}
	t.Cleanup(func() { close(l.end) })
	l.document = func() string { return logDocument(methods) }
	l.reply = func() ([]any, error) { return []any{uint16(1)}, nil }
	l.conn = dial(t, bus, l)
	if _, err := l.conn.RequestName(logName, 0); err != nil {
		t.Fatal(err)
	}
	return l
}

// logDocument is the introspection document of an object with methods such as
// "IpmiSelAdd s s ay b q".
func logDocument(methods []string) string {
	var b strings.Builder
	for _, m := range methods {
		words := strings.Fields(m)
		fmt.Fprintf(&b, `<method name=%q>`, words[0])
		for _, word := range words[1:] {
			fmt.Fprintf(&b, `<arg type=%q direction="in"/>`, word)
		}
		b.WriteString(`<arg type="q" direction="out"/></method>`)
	}
	return `<node><interface name="a.b"><method name="IpmiSelAdd"/></interface><interface name="` + logName + `">` + b.String() + `</interface></node>`
}

func (l *fakeLog) LookupObject(path dbus.ObjectPath) (dbus.ServerObject, bool) {
	return l, path == logPath
}

func (l *fakeLog) LookupInterface(name string) (dbus.Interface, bool) {
	return l, name == logName || name == xml.IntrospectableInterface
}

func (l *fakeLog) LookupMethod(string) (dbus.Method, bool) { return l, true }
func (l *fakeLog) NumArguments() int                       { return 0 }
func (l *fakeLog) NumReturns() int                         { return 0 }
func (l *fakeLog) ArgumentValue(int) any                   { return nil }
func (l *fakeLog) ReturnValue(int) any                     { return nil }

func (l *fakeLog) DecodeArguments(_ *dbus.Conn, _ string, msg *dbus.Message, args []any) ([]any, error) {
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	return append([]any{msg.Headers[dbus.FieldMember].Value(), signature.String()}, args...), nil
}

func (l *fakeLog) Call(args ...any) ([]any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if args[0] == "Introspect" {
		l.looks++
		return []any{l.document()}, nil
	}
	l.calls = append(l.calls, args)
	return l.reply()
}

// has compares the calls that the log has got.
func (l *fakeLog) has(t *testing.T, want ...[]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.calls); diff != "" {
		t.Error(diff)
	}
}

func open(t *testing.T, bus *bustest.Bus) *Services {
	s := New(bus.Address)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func logOf(t *testing.T, bus *bustest.Bus) *EventLog { return &open(t, bus).Log }

func dial(t *testing.T, bus *bustest.Bus, objects dbus.Handler) *dbuswire.Conn {
	t.Helper()
	conn, err := dbuswire.Dial(t.Context(), dbuswire.Config{Address: bus.Address, Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// upperCritical is an event of sensor 30h of the node at 2Ch.
func upperCritical() ipmi.Event {
	return ipmi.Event{Interface: "ipmi-bus.4", Channel: 7, Generator: 0x702C, Message: [7]byte{4, 1, 0x30, 0x81, 0x57, 0x60, 0x5F}}
}

const (
	upperCriticalText = "sensor type 01h number 30h deasserted, event type 01h, data 57 60 5F, from 2Ch"
	upperCriticalPath = "/xyz/openbmc_project/sensors/ipmb/ipmi_bus_4_2c_30"
)

func TestEventLogsOfAllKinds(t *testing.T) {
	text, path, data := upperCriticalText, upperCriticalPath, []byte{0x57, 0x60, 0x5F}
	object := dbus.ObjectPath(path)
	extended := []any{uint16(0x702C), byte(0x81), byte(1), byte(0x30)}
	for name, tt := range map[string]struct {
		methods []string
		want    []any
	}{
		"phosphor-sel-logger": {
			[]string{"IpmiSelAddOem s ay y", "IpmiSelAdd s s ay b q"},
			[]any{"IpmiSelAdd", "ssaybq", text, path, data, false, uint16(0x702C)},
		},
		"object path": {
			[]string{"IpmiSelAdd s o ay b q"},
			[]any{"IpmiSelAdd", "soaybq", text, object, data, false, uint16(0x702C)},
		},
		"as declared": {
			[]string{"IpmiSelAdd s o ay b q", "AddExtended s o ay q y y y"},
			append([]any{"AddExtended", "soayqyyy", text, object, data}, extended...),
		},
		"extended with a string": {
			[]string{"AddExtended s s ay q y y y", "IpmiSelAdd s s ay b q"},
			append([]any{"AddExtended", "ssayqyyy", text, path, data}, extended...),
		},
		"extended of another name": {
			[]string{"IpmiSelAdd s s ay b q", "IpmiSelAddExtended s s ay q y y y"},
			append([]any{"IpmiSelAddExtended", "ssayqyyy", text, path, data}, extended...),
		},
		"extended with an object path of another name": {
			[]string{"IpmiSelAddExtended s o ay q y y y"},
			append([]any{"IpmiSelAddExtended", "soayqyyy", text, object, data}, extended...),
		},
		"extended in another way": {
			[]string{"IpmiSelAddExtended s ay ay s", "IpmiSelAdd s s ay b q"},
			[]any{"IpmiSelAdd", "ssaybq", text, path, data, false, uint16(0x702C)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t)
			log := startLog(t, bus, tt.methods...)
			l := logOf(t, bus)
			for range 2 {
				if err := l.Add(t.Context(), upperCritical()); err != nil {
					t.Fatal(err)
				}
			}
			log.has(t, tt.want, tt.want)
			if log.looks != 1 {
				t.Errorf("it was introspected %d times", log.looks)
			}
		})
	}
}

func TestEventLogThatIsAbsent(t *testing.T) {
	bus := bustest.Start(t)
	l := logOf(t, bus)
	if err := l.Add(t.Context(), upperCritical()); !errors.Is(err, ipmi.ErrNotPresent) || !strings.Contains(err.Error(), logName) {
		t.Errorf("error = %v", err)
	}
	log := startLog(t, bus, "IpmiSelAdd s s ay b q")
	if err := l.Add(t.Context(), upperCritical()); err != nil {
		t.Errorf("when it is there: %v", err)
	}
	if _, err := log.conn.ReleaseName(logName); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), upperCritical()); !errors.Is(err, ipmi.ErrNotPresent) {
		t.Errorf("when it has gone: %v", err)
	}
}

func TestEventLogOfAnotherOwner(t *testing.T) {
	bus := bustest.Start(t)
	first := startLog(t, bus, "IpmiSelAdd s s ay b q")
	second := startLog(t, bus, "IpmiSelAdd s o ay b q") // in the queue for the name
	l := logOf(t, bus)
	add := func() {
		t.Helper()
		if err := l.Add(t.Context(), upperCritical()); err != nil {
			t.Fatal(err)
		}
	}
	add()
	if _, err := first.conn.ReleaseName(logName); err != nil {
		t.Fatal(err)
	}
	add()
	add()
	if len(first.calls) != 1 || len(second.calls) != 2 || second.calls[0][1] != "soaybq" {
		t.Errorf("the first has %v, the second %v", first.calls, second.calls)
	}
}

func TestEventLogThatLeavesWhenItIsLookedAt(t *testing.T) {
	bus := bustest.Start(t)
	first := startLog(t, bus)
	first.document = func() string { _ = first.conn.Close(); return "" }
	second := startLog(t, bus, "IpmiSelAdd s s ay b q") // in the queue for the name
	l := logOf(t, bus)
	if err := l.Add(t.Context(), upperCritical()); err != nil {
		t.Fatal(err)
	}
	if len(second.calls) != 1 {
		t.Errorf("the second has %v", second.calls)
	}
	// One that left later was not asked either.
	if err := logMethods[0].callMethod(t.Context(), l.connected(nil), first.conn.Name(), upperCritical()); !errors.Is(err, errLogLeft) {
		t.Errorf("error = %v", err)
	}
}

func TestEventLogsThatDoNotTakeAnEvent(t *testing.T) {
	bus := bustest.Start(t)
	log := startLog(t, bus)
	l := logOf(t, bus)
	for name, tt := range map[string]struct {
		document string
		want     string
	}{
		"no document":       {"", "EOF"},
		"half a document":   {"<node><interface>", "XML"},
		"no interface":      {"<node/>", "no method"},
		"no method":         {logDocument(nil), "no method"},
		"method without":    {logDocument([]string{"IpmiSelAdd s ay b q"}), "no method"},
		"name of extension": {logDocument([]string{"AddExtended s s ay b q"}), "no method"},
	} {
		log.document = func() string { return tt.document }
		err := l.Add(t.Context(), upperCritical())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), logName) || errors.Is(err, ipmi.ErrNotPresent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	log.document = func() string { return logDocument([]string{"IpmiSelAdd s s ay b q"}) }
	if err := l.Add(t.Context(), upperCritical()); err != nil {
		t.Errorf("a failure is remembered: %v", err)
	}
}

func TestEventLogThatFails(t *testing.T) {
	bus := bustest.Start(t)
	log := startLog(t, bus, "IpmiSelAdd s s ay b q")
	l := logOf(t, bus)
	log.reply = func() ([]any, error) { return nil, dbus.NewError("a.b.Full", []any{"no space"}) }
	if err := l.Add(t.Context(), upperCritical()); err == nil || err.Error() != logName+": a.b.Full: no space" {
		t.Errorf("error = %v", err)
	}
	if len(log.calls) != 1 {
		t.Errorf("it was asked %d times", len(log.calls))
	}
}

func TestEventLogThatDiesInTheMiddle(t *testing.T) {
	bus := bustest.Start(t)
	log := startLog(t, bus, "IpmiSelAdd s s ay b q")
	other := startLog(t, bus, "IpmiSelAdd s s ay b q") // in the queue for the name
	log.reply = func() ([]any, error) { _ = log.conn.Close(); return nil, nil }
	l := logOf(t, bus)
	// Whether it has the event is unknown: it is not added once more.
	if err := l.Add(t.Context(), upperCritical()); !errors.Is(err, ipmi.ErrAbandoned) || len(other.calls) != 0 {
		t.Errorf("error = %v, and the next one has %v", err, other.calls)
	}
}

func TestEventLogThatIsSilent(t *testing.T) {
	bus := bustest.Start(t)
	log := startLog(t, bus, "IpmiSelAdd s s ay b q")
	l := logOf(t, bus)
	log.reply = func() ([]any, error) { <-log.end; return nil, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Add(ctx, upperCritical()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
}

// The system bus lets a connection wait for 128 replies. A log that hangs must not use them up for
// users of other services.
func TestEventLogThatHangsLeavesRoomForOthers(t *testing.T) {
	bus := bustest.StartConfig(t, bustest.Config{Limits: map[string]int{"max_replies_per_connection": 128}})
	services := open(t, bus)
	log := startLog(t, bus, "IpmiSelAdd s s ay b q")
	if err := services.Log.Add(t.Context(), upperCritical()); err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	log.reply = func() ([]any, error) { <-log.end; return nil, nil }
	log.mu.Unlock()
	for range 200 { // events, one after the other
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_ = services.Log.Add(ctx, upperCritical())
		cancel()
	}
	// The message bus itself is the service of this property.
	features := Property{dbuswire.BusName, "/org/freedesktop/DBus", dbuswire.BusName, "Features"}
	if _, err := services.System.Number(t.Context(), features); err == nil || !strings.Contains(err.Error(), "is not a number") {
		t.Errorf("a service that is well: %v", err)
	}
}
