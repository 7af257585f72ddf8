package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/xml"
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
	body, err := c.call(ctx, xml.BasePath, xml.ManagerInterface, member, json)
	if err != nil {
		return "", err
	}
	var path dbus.ObjectPath
	if err := dbus.Store(body, &path); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return strings.TrimPrefix(string(path), xml.BasePath+"/"), nil
}

// Remove removes the bus or the host interface of a name. The error is an
// *UnknownEndpointError when there is none.
func (c *Client) Remove(ctx context.Context, name string) error {
	m, err := c.Endpoint(ctx, name)
	if err != nil {
		return err
	}
	if m.Host != nil {
		_, err = c.call(ctx, xml.BasePath, xml.ManagerInterface, "RemoveHost", m.Host.Object)
	} else {
		_, err = c.call(ctx, xml.BasePath, xml.ManagerInterface, "RemoveBus", m.Bus.Path)
	}
	return err
}

// Reload has the service read its configuration file again. The errors are those of
// AddBus.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.call(ctx, xml.BasePath, xml.ManagerInterface, "Reload")
	return err
}
