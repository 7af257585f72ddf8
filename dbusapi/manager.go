package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/xml"
)

// Manager changes which buses and host interfaces are served. Its methods return when the change
// is made, or earlier when ctx ends: then the change goes on. They return ErrConfig, ErrTaken,
// ErrNameTaken, *ipmi.OverlapError, ErrNoEndpoint, ErrRestart, ErrNoFile and ErrStopping.
type Manager interface {
	// AddBus and AddHost add the bus or host interface that a JSON object describes, and
	// return the path of its object.
	AddBus(ctx context.Context, json string) (path dbus.ObjectPath, err error)
	AddHost(ctx context.Context, json string) (path dbus.ObjectPath, err error)
	// RemoveBus and RemoveHost remove the bus or host interface with the path.
	RemoveBus(ctx context.Context, path dbus.ObjectPath) error
	RemoveHost(ctx context.Context, path dbus.ObjectPath) error
	// Reload reads the configuration file again, and makes the changes.
	Reload(ctx context.Context) error
	// Faults are the texts of what cannot be used beside buses and host interfaces. It does not
	// block. Server.FaultsChanged announces a change.
	Faults() []string
}

// faults are those of the Manager.
func (s *Server) faults() []string {
	if s.config.Manager == nil {
		return []string{}
	}
	return append([]string{}, s.config.Manager.Faults()...)
}

// FaultsChanged says that the Manager's faults may have changed. It does not block.
func (s *Server) FaultsChanged() { s.wakeEmitter() }

// emitFaults announces the faults if they have changed since they were announced last. Only the
// emitting loop calls it.
func (s *Server) emitFaults() {
	now := s.faults()
	if slices.Equal(now, s.faultsTold) {
		return
	}
	s.faultsTold = now
	s.emitPropertiesChanged(BasePath, xml.ManagerInterface, map[string]dbus.Variant{"Faults": dbus.MakeVariant(now)})
}

// Why a Manager does not make a change. The texts of errors that wrap them are for the caller.
var (
	// ErrConfig: a configuration is wrong.
	ErrConfig = errors.New("the configuration is wrong")
	// ErrTaken: another bus or host interface has something that cannot be shared.
	ErrTaken = errors.New("taken already")
	// ErrNoEndpoint: there is no such bus or host interface.
	ErrNoEndpoint = errors.New("there is none")
	// ErrRestart: only a restart can make the change.
	ErrRestart = errors.New("only a restart can change that")
	// ErrNoFile: the configuration was not read from a file.
	ErrNoFile = errors.New("the configuration does not come from a file")
	// ErrStopping: the service is about to end.
	ErrStopping = errors.New("the service is stopping")
)

// managed makes a method of the Manager that changes something, if the caller may.
func managed(change func(context.Context, Manager, []any) ([]any, error)) func(context.Context, *call) ([]any, error) {
	return func(ctx context.Context, c *call) ([]any, error) {
		if err := c.server.checkManager(ctx, c.sender); err != nil {
			return nil, err
		}
		if c.server.config.Manager == nil {
			return nil, fmt.Errorf("%w: nothing can be changed", ErrNoFile)
		}
		return change(ctx, c.server.config.Manager, c.args)
	}
}

func managerAdd(add func(Manager, context.Context, string) (dbus.ObjectPath, error)) func(context.Context, *call) ([]any, error) {
	return managed(func(ctx context.Context, m Manager, args []any) ([]any, error) {
		path, err := add(m, ctx, args[0].(string))
		return []any{path}, err
	})
}

func managerRemove(remove func(Manager, context.Context, dbus.ObjectPath) error) func(context.Context, *call) ([]any, error) {
	return managed(func(ctx context.Context, m Manager, args []any) ([]any, error) {
		return nil, remove(m, ctx, args[0].(dbus.ObjectPath))
	})
}

func managerReload(ctx context.Context, m Manager, _ []any) ([]any, error) { return nil, m.Reload(ctx) }
