package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Handler is a handler that a program has registered.
type Handler struct {
	// Owner is the unique name of the program's connection: ":1.42".
	Owner string
	// Process is the ID of the program's process; 0 when it is not known.
	Process uint32
	// Path is the handler's object there.
	Path dbus.ObjectPath
	// Patterns are the requests that it answers.
	Patterns []ipmi.Pattern
}

// Handlers are the handlers that programs have registered, in the order they
// did.
func (c *Client) Handlers(ctx context.Context) ([]Handler, error) {
	rows, err := c.handlerRows(ctx)
	if err != nil {
		return nil, err
	}
	var handlers []Handler
	for _, row := range rows {
		at := slices.IndexFunc(handlers, func(h Handler) bool { return h.Owner == row.Owner && h.Path == row.Path })
		if at < 0 {
			at = len(handlers)
			handlers = append(handlers, Handler{Owner: row.Owner, Process: c.processOf(ctx, row.Owner), Path: row.Path})
		}
		handlers[at].Patterns = append(handlers[at].Patterns, row.pattern())
	}
	return handlers, nil
}

// handlerRows is the property Handlers of the router.
func (c *Client) handlerRows(ctx context.Context) ([]handlerRow, error) {
	body, err := c.call(ctx, xml.BasePath, xml.PropertiesInterface, "Get", xml.RouterInterface, "Handlers")
	if err != nil {
		return nil, err
	}
	var property dbus.Variant
	var rows []handlerRow
	err = dbus.Store(body, &property)
	if err == nil {
		err = property.Store(&rows)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: Handlers: %w", ErrOtherService, err)
	}
	return rows, nil
}

// handlerRow is (soyyuu), an element of the property Handlers.
type handlerRow struct {
	Owner           string
	Path            dbus.ObjectPath
	NetFn, Command  byte
	Group, Channels uint32
}

// commandRow is (yyuu), commands as they are registered.
type commandRow struct {
	NetFn, Command  byte
	Group, Channels uint32
}

func commandRows(patterns []ipmi.Pattern) []commandRow {
	rows := []commandRow{}
	for _, p := range patterns {
		rows = append(rows, commandRow{byte(p.NetFn), byte(p.Command), p.Group, uint32(p.Channels)})
	}
	return rows
}

func (r handlerRow) pattern() ipmi.Pattern {
	return ipmi.Pattern{
		NetFn:    ipmi.NetFn(r.NetFn),
		Command:  ipmi.Command(r.Command),
		Group:    r.Group,
		Channels: ipmi.ChannelMask(r.Channels),
	}
}

// processOf is the process of a connection, which may have left by now.
func (c *Client) processOf(ctx context.Context, name string) uint32 {
	pid, _ := c.conn.CallBusForNumber(ctx, "GetConnectionUnixProcessID", name)
	return pid
}
