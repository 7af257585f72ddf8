package dbusapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// AddBus adds a bus and AddHost a host interface, which a JSON object describes as
// the configuration file does, and return its name. The error of the service is a
// *ServiceError whose text says what is wrong, a line for each fault.
func (c *Client) AddBus(ctx context.Context, json string) (name string, err error) {
	return c.add(ctx, "AddBus", json)
}

// AddHost is as AddBus.
func (c *Client) AddHost(ctx context.Context, json string) (name string, err error) {
	return c.add(ctx, "AddHost", json)
}

func (c *Client) add(ctx context.Context, member, json string) (string, error) {
	body, err := c.call(ctx, BasePath, managerInterface, member, json)
	if err != nil {
		return "", err
	}
	var path dbus.ObjectPath
	if err := dbus.Store(body, &path); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return strings.TrimPrefix(string(path), string(BasePath)+"/"), nil
}

// Remove removes the bus or the host interface of a name. The error is an
// *UnknownMemberError when there is none.
func (c *Client) Remove(ctx context.Context, name string) error {
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return &UnknownMemberError{name, members}
	}
	member := "RemoveBus"
	if members[i].IsHost {
		member = "RemoveHost"
	}
	_, err = c.call(ctx, BasePath, managerInterface, member, members[i].path)
	return err
}

// Reload has the service read its configuration file again. The errors are those of
// AddBus.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.call(ctx, BasePath, managerInterface, "Reload")
	return err
}

// Member is a bus or a host interface.
type Member struct {
	Name   string
	IsHost bool
	Device string // or socket
	path   dbus.ObjectPath
}

// Members are the buses and the host interfaces, by name.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	objects, err := c.managedObjects(ctx)
	if err != nil {
		return nil, err
	}
	var members []Member
	for path, interfaces := range objects {
		if p, ok := interfaces[busObjectInterface]; ok {
			members = append(members, Member{propertyOf[string](p, "Bus"), false, propertyOf[string](p, "Device"), path})
		}
		if p, ok := interfaces[hostObjectInterface]; ok {
			members = append(members, Member{propertyOf[string](p, "Name"), true, propertyOf[string](p, "Path"), path})
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return compareNames(a.Name, b.Name) })
	return members, nil
}

// UnknownMemberError says that there is no bus and no host interface of a name.
type UnknownMemberError struct {
	Name  string
	Known []Member // those there are
}

// Error implements error.
func (e *UnknownMemberError) Error() string {
	return fmt.Sprintf("no bus and no host interface %q", e.Name)
}
