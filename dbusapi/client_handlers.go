package dbusapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// HandlerInfo is a handler that a program has registered.
type HandlerInfo struct {
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
func (c *Client) Handlers(ctx context.Context) ([]HandlerInfo, error) {
	rows, err := c.handlerRows(ctx)
	if err != nil {
		return nil, err
	}
	var handlers []HandlerInfo
	for _, row := range rows {
		at := slices.IndexFunc(handlers, func(h HandlerInfo) bool { return h.Owner == row.Owner && h.Path == row.Path })
		if at < 0 {
			at = len(handlers)
			handlers = append(handlers, HandlerInfo{Owner: row.Owner, Process: c.processOf(ctx, row.Owner), Path: row.Path})
		}
		handlers[at].Patterns = append(handlers[at].Patterns, row.pattern())
	}
	return handlers, nil
}

// handlerRows is the property Handlers of the router.
func (c *Client) handlerRows(ctx context.Context) ([]handlerRow, error) {
	body, err := c.call(ctx, BasePath, propertiesInterface, "Get", routerInterface, "Handlers")
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
	got, err := c.conn.callBus(ctx, "GetConnectionUnixProcessID", name)
	if err != nil {
		return 0
	}
	pid, _ := firstUint32(got)
	return pid
}
