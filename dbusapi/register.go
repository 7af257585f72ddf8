package dbusapi

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmi"
)

// registerHandler serves RegisterHandler of the router.
func registerHandler(ctx context.Context, c *call) ([]any, error) {
	patterns, err := patternsOf(c.args[1].([][]any))
	if err != nil {
		return nil, err
	}
	path := c.args[0].(dbus.ObjectPath)
	if len(path) > maxPath {
		return nil, errLongPath
	}
	c.server.lookups.await(ctx, c.caller)
	if ctx.Err() != nil {
		return nil, errGone
	}
	owner := c.caller.describe()
	h := &remoteHandler{
		client:   &c.caller.client,
		conn:     c.server.conn,
		router:   c.server.router,
		late:     &c.server.names.late,
		patterns: patterns,
		target: target{
			title:       fmt.Sprintf("handler %s of %s", path, owner),
			destination: c.sender,
			path:        string(path),
			wide:        true,
		},
	}
	return nil, c.server.addHandler(ctx, owner, h)
}

// patternsOf reads an argument a(yyuu).
func patternsOf(commands [][]any) ([]ipmi.Pattern, error) {
	switch n := len(commands); {
	case n == 0:
		return nil, errNoCommands
	case n > maxPatternsOfOne:
		return nil, fmt.Errorf("%w commands: %d, at most %d of one handler", errTooMany, n, maxPatternsOfOne)
	}
	patterns := make([]ipmi.Pattern, len(commands))
	for i, command := range commands {
		patterns[i] = ipmi.Pattern{
			NetFn:    ipmi.NetFn(command[0].(byte)),
			Command:  ipmi.Command(command[1].(byte)),
			Group:    command[2].(uint32),
			Channels: ipmi.ChannelMask(command[3].(uint32)),
		}
	}
	return patterns, nil
}

// describe names a connection to people: ":1.42 (process 812)".
func (c *caller) describe() string {
	if p, known := c.client.Process(); known && p != bus.Unknown && p.PID != 0 {
		return fmt.Sprintf("%s (process %d)", c.name, p.PID)
	}
	return c.name
}

// unregisterHandler serves UnregisterHandler of the router.
func unregisterHandler(_ context.Context, c *call) ([]any, error) {
	path := string(c.args[0].(dbus.ObjectPath))
	found := c.server.removeHandlers(func(h *remoteHandler) bool { return h.destination == c.sender && h.path == path })
	if !found {
		return nil, errNotRegistered
	}
	return nil, nil
}
