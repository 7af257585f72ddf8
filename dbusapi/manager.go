package dbusapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Manager changes which buses and host interfaces there are. Its methods return
// when the change is made, or earlier when ctx ends: then it goes on. Their errors
// are ErrConfig, ErrTaken, ErrNameTaken, *ipmi.OverlapError, ErrNoMember,
// ErrRestart, ErrNoFile and ErrStopping.
type Manager interface {
	// AddBus and AddHost add what a JSON object describes, and return the path of its
	// object.
	AddBus(ctx context.Context, json string) (path dbus.ObjectPath, err error)
	AddHost(ctx context.Context, json string) (path dbus.ObjectPath, err error)
	// RemoveBus and RemoveHost remove what has the path.
	RemoveBus(ctx context.Context, path dbus.ObjectPath) error
	RemoveHost(ctx context.Context, path dbus.ObjectPath) error
	// Reload makes all as the configuration file has it.
	Reload(ctx context.Context) error
}

// Why a Manager does not make a change. The texts of what wraps them are for the
// caller.
var (
	// ErrConfig: a configuration is wrong.
	ErrConfig = errors.New("the configuration is wrong")
	// ErrTaken: something else has what must be one's alone.
	ErrTaken = errors.New("taken already")
	// ErrNoMember: there is no such bus or host interface.
	ErrNoMember = errors.New("there is none")
	// ErrRestart: the change can be made by a restart only.
	ErrRestart = errors.New("only a restart can change that")
	// ErrNoFile: the configuration is from no file.
	ErrNoFile = errors.New("the configuration is from no file")
	// ErrStopping: the service is about to end.
	ErrStopping = errors.New("the service is stopping")
)

// managerAddBus and those below serve
// xyz.openbmc_project.Ipmi.Channel.Ipmb.Manager.
func managerAddBus(ctx context.Context, c *call) ([]any, error) { return c.add(ctx, Manager.AddBus) }

func managerAddHost(ctx context.Context, c *call) ([]any, error) { return c.add(ctx, Manager.AddHost) }

func (c *call) add(ctx context.Context, add func(Manager, context.Context, string) (dbus.ObjectPath, error)) ([]any, error) {
	m, err := c.manager(ctx)
	if err != nil {
		return nil, err
	}
	path, err := add(m, ctx, c.args[0].(string))
	return []any{path}, err
}

func managerRemoveBus(ctx context.Context, c *call) ([]any, error) {
	return nil, c.remove(ctx, Manager.RemoveBus)
}

func managerRemoveHost(ctx context.Context, c *call) ([]any, error) {
	return nil, c.remove(ctx, Manager.RemoveHost)
}

func (c *call) remove(ctx context.Context, remove func(Manager, context.Context, dbus.ObjectPath) error) error {
	m, err := c.manager(ctx)
	if err != nil {
		return err
	}
	return remove(m, ctx, c.args[0].(dbus.ObjectPath))
}

func managerReload(ctx context.Context, c *call) ([]any, error) {
	m, err := c.manager(ctx)
	if err != nil {
		return nil, err
	}
	return nil, m.Reload(ctx)
}

// manager is who makes changes, for who may ask for them.
func (c *call) manager(ctx context.Context) (Manager, error) {
	if err := c.server.mayManage(ctx, c.sender); err != nil {
		return nil, err
	}
	if c.server.manager == nil {
		return nil, fmt.Errorf("%w: what there is cannot be changed", ErrNoFile)
	}
	return c.server.manager, nil
}
