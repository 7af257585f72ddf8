package openbmc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// The service that writes the system event log. Its interface has the same name.
const (
	logName = "xyz.openbmc_project.Logging.IPMI"
	logPath = dbus.ObjectPath("/xyz/openbmc_project/Logging/IPMI")
)

// logMethod adds a record of an event to the system event log.
type logMethod struct{ member, in string }

// logMethods are the methods that EventLog uses, the best first: those that take all of an event.
// Their arguments are message, sensor's path, event data, and then either generator, event type,
// sensor type and sensor number, or whether the event is asserted and generator.
// phosphor-sel-logger takes the path as a string; phosphor-dbus-interfaces declares it as an
// object path (Logging/IPMI).
var logMethods = []logMethod{
	{"AddExtended", "soayqyyy"},
	{"AddExtended", "ssayqyyy"},
	{"IpmiSelAddExtended", "soayqyyy"},
	{"IpmiSelAddExtended", "ssayqyyy"},
	{"IpmiSelAdd", "ssaybq"},
	{"IpmiSelAdd", "soaybq"},
}

var (
	// errLogLeft: the owner of the log's name has left the message bus, and has added nothing.
	errLogLeft = fmt.Errorf("%w: %s has left the message bus", ipmi.ErrNotPresent, logName)
	errLogNone = fmt.Errorf("%s has no method that takes an event: neither IpmiSelAdd nor AddExtended with the arguments they should have", logName)
)

// EventLog writes events to the system event log of another service. Its method may be called
// from several goroutines at once.
type EventLog struct {
	ownConn

	mu     sync.Mutex
	owner  string // whose method it is
	method logMethod
}

// Add adds a record of an event. It does not start the service. The error is ipmi.ErrNotPresent if
// the service is not running, ipmi.ErrAbandoned if it stops during the call, an error of the
// service or of ctx, or says that the service has no method for events.
func (l *EventLog) Add(ctx context.Context, e ipmi.Event) error {
	err := l.addRecord(ctx, e)
	if errors.Is(err, errLogLeft) {
		err = l.addRecord(ctx, e) // Another service may have its place.
	}
	return err
}

func (l *EventLog) addRecord(ctx context.Context, e ipmi.Event) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	owner, err := conn.OwnerOf(ctx, logName)
	if err != nil {
		return logError(err)
	}
	method, err := l.methodOf(ctx, conn, owner)
	if err != nil {
		return err
	}
	return method.callMethod(ctx, conn, owner, e)
}

// methodOf is the best method of an owner of the log's name.
func (l *EventLog) methodOf(ctx context.Context, conn *dbuswire.Conn, owner string) (logMethod, error) {
	l.mu.Lock()
	known, method := l.owner == owner, l.method
	l.mu.Unlock()
	if known {
		return method, nil
	}
	method, err := introspectLog(ctx, conn, owner)
	if err != nil {
		return logMethod{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner, l.method = owner, method
	return method, nil
}

func introspectLog(ctx context.Context, conn *dbuswire.Conn, owner string) (logMethod, error) {
	got, err := conn.Call(ctx, dbuswire.Method{Destination: owner, Path: logPath, Interface: xml.IntrospectableInterface, Member: "Introspect"})
	switch err = logError(err); {
	case errors.Is(err, ipmi.ErrNotPresent), errors.Is(err, ipmi.ErrAbandoned):
		return logMethod{}, errLogLeft
	case err != nil:
		return logMethod{}, err
	}
	var text string
	if err := dbus.Store(got, &text); err != nil {
		return logMethod{}, fmt.Errorf("%s: Introspect: %w", logName, dbuswire.ErrReply)
	}
	interfaces, err := xml.Parse(text)
	if err != nil {
		return logMethod{}, fmt.Errorf("%s: Introspect: %w", logName, err)
	}
	return chooseLogMethod(interfaces)
}

// chooseLogMethod chooses the best method.
func chooseLogMethod(interfaces []xml.Interface) (logMethod, error) {
	has := make(map[logMethod]bool)
	for _, i := range interfaces {
		if i.Name != logName {
			continue
		}
		for _, m := range i.Methods {
			has[logMethod{m.Name, m.Signature("in")}] = true
		}
	}
	for _, m := range logMethods {
		if has[m] {
			return m, nil
		}
	}
	return logMethod{}, errLogNone
}

// callMethod calls the method of an owner.
func (m logMethod) callMethod(ctx context.Context, conn *dbuswire.Conn, owner string, e ipmi.Event) error {
	_, err := conn.Call(ctx, dbuswire.Method{Destination: owner, Path: logPath, Interface: logName, Member: m.member}, m.args(e)...)
	if err = logError(err); errors.Is(err, ipmi.ErrNotPresent) {
		return errLogLeft
	}
	return err
}

// args is an event as the method takes it.
func (m logMethod) args(e ipmi.Event) []any {
	args := []any{e.String(), sensorPath(e), e.Data()}
	if m.in[1] == 'o' {
		args[1] = dbus.ObjectPath(sensorPath(e))
	}
	if strings.HasSuffix(m.in, "bq") {
		return append(args, e.Asserted(), e.Generator)
	}
	return append(args, e.Generator, e.Message[3], e.Message[1], e.Message[2])
}

// sensorPath names the sensor of an event by the interface that the event came from, the address
// or ID of its generator, and the sensor's number: ".../bus4_2c_30".
func sensorPath(e ipmi.Event) string {
	iface := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, e.Interface)
	return fmt.Sprintf("/xyz/openbmc_project/sensors/ipmb/%s_%02x_%02x", iface, byte(e.Generator), e.Message[2])
}

// logError is the meaning of an error of a call.
func logError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", logName, systemError(err))
}
