// Package client calls ipmbd over D-Bus: requests on its buses, what its objects show, what
// passes, and handlers and subscribers of other programs.
package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// The two well-known message buses, as addresses.
const (
	// SystemBus is $DBUS_SYSTEM_BUS_ADDRESS or the specification's socket.
	SystemBus = dbuswire.SystemBus
	// SessionBus is $DBUS_SESSION_BUS_ADDRESS or $XDG_RUNTIME_DIR/bus.
	SessionBus = dbuswire.SessionBus
)

// Client calls ipmbd over a message bus. Its methods may be called from several
// goroutines at once. They wait as long as their context lets them; the service
// ends every request in bounded time.
type Client struct {
	conn    *dbuswire.Conn
	address string
}

// Open connects to the message bus at address: a D-Bus address, SystemBus
// or SessionBus. The error is ErrNoMessageBus, or that of ctx; whether ipmbd is
// there shows at the first call.
func Open(ctx context.Context, address string) (*Client, error) {
	conn, err := dialClient(ctx, dbuswire.Config{Address: address})
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, address: address}, nil
}

func dialClient(ctx context.Context, config dbuswire.Config) (*dbuswire.Conn, error) {
	conn, err := dbuswire.Dial(ctx, config)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: %w", ErrNoMessageBus, err)
}

// Close ends the connection and with it the client's calls.
func (c *Client) Close() error { return c.conn.Close() }

// Send sends a request on a bus and returns the answer. A responder of 0 is the
// bus's remote address; NoWait cannot be asked for. A completion code is a
// result; a request without an answer is a *ServiceError. The answer's data
// belong to the caller.
func (c *Client) Send(ctx context.Context, bus string, r ipmb.Request) (ipmi.Response, error) {
	path, err := c.busPath(ctx, bus)
	if err != nil {
		return ipmi.Response{}, err
	}
	member := "sendRequest"
	args := []any{uint8(r.Responder), uint8(r.NetFn), uint8(r.LUN), uint8(r.Command), nonNil(r.Data)}
	if options := optionsOf(r); len(options) > 0 {
		member = "sendRequestWithOptions"
		args = append(args, options)
	}
	body, err := c.call(ctx, path, xml.BusInterface, member, args...)
	if err != nil {
		return ipmi.Response{}, c.noBus(ctx, bus, err)
	}
	var code uint8
	var data []byte
	if err := dbus.Store(body, &code, &data); err != nil {
		return ipmi.Response{}, fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: data}, nil
}

// optionsOf are the options that differ from the bus's settings.
func optionsOf(r ipmb.Request) map[string]dbus.Variant {
	options := map[string]dbus.Variant{}
	if r.RetryPolicy.Timeout != 0 {
		options["timeout-ms"] = dbus.MakeVariant(uint32(r.RetryPolicy.Timeout.Milliseconds()))
	}
	if r.RetryPolicy.Tries != 0 {
		options["tries"] = dbus.MakeVariant(uint32(r.RetryPolicy.Tries))
	}
	if r.RequesterLUN != 0 {
		options["requester-lun"] = dbus.MakeVariant(uint8(r.RequesterLUN))
	}
	if r.FailFast {
		options["fail-fast"] = dbus.MakeVariant(true)
	}
	if r.GeneralCall {
		options["broadcast"] = dbus.MakeVariant(true)
	}
	return options
}

// nonNil makes data an array of bytes for D-Bus, which knows no nil.
func nonNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// call calls a method of the service.
func (c *Client) call(ctx context.Context, path dbus.ObjectPath, iface, member string, args ...any) ([]any, error) {
	body, err := c.conn.Call(ctx, dbuswire.Method{Destination: xml.ServiceName, Path: path, Interface: iface, Member: member}, args...)
	return body, clientError(err)
}

// SendStorage has ipmbd's own BMC answer a request of ipmi.NetFnStorage. A
// completion code is a result. The answer's data belong to the caller.
func (c *Client) SendStorage(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
	const member = "SendStorageRequest"
	body, err := c.call(ctx, xml.BasePath, xml.RouterInterface, member, uint8(cmd), nonNil(data))
	if err != nil {
		return ipmi.Response{}, err
	}
	var code uint8
	var answer []byte
	if err := dbus.Store(body, &code, &answer); err != nil {
		return ipmi.Response{}, fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: answer}, nil
}

// State is whether a bus or a host interface works.
type State = bus.State

// States of a bus or a host interface.
const (
	Up       = bus.Up
	Degraded = bus.Degraded
	Down     = bus.Down
)

// Unbound is the Reason of a bus that is Down since Unbind.
const Unbound = bus.Unbound
