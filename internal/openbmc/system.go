package openbmc

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/godbus/dbus/v5"

	"ipmbd/dbusapi"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// System is the state of the system that other services on the message bus know and change. Its
// methods may be called from several goroutines at once.
type System struct{ ownConn }

// Property is a property of an object of another service.
type Property struct {
	Service   string // a well-known name
	Path      string
	Interface string
	Name      string
}

func (p Property) String() string {
	return fmt.Sprintf("%s %s %s.%s", p.Service, p.Path, p.Interface, p.Name)
}

func (p Property) method(member string) dbuswire.Method {
	return dbuswire.Method{Destination: p.Service, Path: dbus.ObjectPath(p.Path), Interface: xml.PropertiesInterface, Member: member, NoAutoStart: true}
}

// Number returns the value of a property that is a number, or a boolean: 0 or 1. The error is
// ipmi.ErrNotPresent if the service does not run, or an error of the service or of ctx.
func (s *System) Number(ctx context.Context, p Property) (float64, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	value, err := p.get(ctx, conn)
	if err != nil {
		return 0, err
	}
	number, ok := asNumber(value.Value())
	if !ok {
		return 0, fmt.Errorf("%v: is not a number: %v", p, value)
	}
	return number, nil
}

// get reads the property. It returns the errors of System.Number.
func (p Property) get(ctx context.Context, conn *dbuswire.Conn) (value dbus.Variant, err error) {
	got, err := conn.Call(ctx, p.method("Get"), p.Interface, p.Name)
	if err != nil {
		return value, fmt.Errorf("%v: %w", p, systemError(err))
	}
	if err := dbus.Store(got, &value); err != nil {
		return value, fmt.Errorf("%v: %w", p, dbuswire.ErrReply)
	}
	return value, nil
}

func asNumber(value any) (float64, bool) {
	switch v := reflect.ValueOf(value); {
	case !v.IsValid():
		return 0, false
	case v.CanFloat():
		return v.Float(), true
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.Kind() == reflect.Bool && v.Bool():
		return 1, true
	default:
		return 0, v.Kind() == reflect.Bool
	}
}

// Transition is a change of a host or its chassis that can be requested.
type Transition uint8

// Transitions of xyz.openbmc_project.State.Chassis and .Host.
const (
	ChassisOff Transition = iota
	ChassisCycle
	HostOn
	HostReset
	HostShutDown
	HostNMI
)

// Names of OpenBMC's state management (phosphor-dbus-interfaces, State/Chassis, State/Host,
// Control/Host/NMI). A service may have the number of the host at the end of its name.
const (
	stateChassis = "xyz.openbmc_project.State.Chassis"
	stateHost    = "xyz.openbmc_project.State.Host"
	controlNMI   = "xyz.openbmc_project.Control.Host.NMI"
	chassisState = "/xyz/openbmc_project/state/chassis"
	hostState    = "/xyz/openbmc_project/state/host"
	hostControl  = "/xyz/openbmc_project/control/host"
)

// transitions are the properties to set, and their values.
var transitions = map[Transition]struct{ iface, path, property, value string }{
	ChassisOff:   {stateChassis, chassisState, "RequestedPowerTransition", stateChassis + ".Transition.Off"},
	ChassisCycle: {stateChassis, chassisState, "RequestedPowerTransition", stateChassis + ".Transition.PowerCycle"},
	HostOn:       {stateHost, hostState, "RequestedHostTransition", stateHost + ".Transition.On"},
	HostReset:    {stateHost, hostState, "RequestedHostTransition", stateHost + ".Transition.ForceWarmReboot"},
	HostShutDown: {stateHost, hostState, "RequestedHostTransition", stateHost + ".Transition.Off"},
}

// Request requests a transition of the host with a number, and returns when the service has
// accepted it. The error is ipmi.ErrNotPresent if there is no such service.
func (s *System) Request(ctx context.Context, host int, t Transition) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if t == HostNMI {
		return ask(ctx, conn, dbuswire.Method{Destination: controlNMI, Path: dbus.ObjectPath(fmt.Sprint(hostControl, host, "/nmi")),
			Interface: controlNMI, Member: "NMI", NoAutoStart: true})
	}
	to := transitions[t]
	for _, service := range stateServices(to.iface, host) {
		p := Property{service, fmt.Sprint(to.path, host), to.iface, to.property}
		err = ask(ctx, conn, p.method("Set"), to.iface, to.property, dbus.MakeVariant(to.value))
		if !errors.Is(err, ipmi.ErrNotPresent) {
			break
		}
	}
	return err
}

// stateServices are the names that a service of a host may have.
func stateServices(name string, host int) []string { return []string{fmt.Sprint(name, host), name} }

// ask calls a method without results.
func ask(ctx context.Context, conn *dbuswire.Conn, m dbuswire.Method, args ...any) error {
	if _, err := conn.Call(ctx, m, args...); err != nil {
		return fmt.Errorf("%s: %w", m.Destination, systemError(err))
	}
	return nil
}

// systemError is the meaning of an error of a call.
func systemError(err error) error {
	if peer, ok := errors.AsType[dbus.Error](err); ok {
		return dbusapi.BusError(peer.Name, peer.Error())
	}
	return err
}
