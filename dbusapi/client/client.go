package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

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

// Client calls ipmbd over a message bus. Its methods may be called from several goroutines at once. They
// wait as long as their context allows; ipmbd ends every request in bounded time.
type Client struct {
	conn    *dbuswire.Conn
	address string
}

// Open connects to the message bus at address: a D-Bus address, SystemBus or SessionBus. The error is
// ErrNoMessageBus or that of ctx. Open does not need ipmbd.
func Open(ctx context.Context, address string) (*Client, error) {
	conn, err := connect(ctx, dbuswire.Config{Address: address})
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, address: address}, nil
}

func connect(ctx context.Context, config dbuswire.Config) (*dbuswire.Conn, error) {
	conn, err := dbuswire.Dial(ctx, config)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: %w", ErrNoMessageBus, err)
}

// Close closes the connection. Calls in progress return ErrDisconnected.
func (c *Client) Close() error { return c.conn.Close() }

// Send sends a request on a bus and returns the response. A responder of 0 is the bus's remote address.
// NoWait is not supported. A completion code is a result; a request without a response is a
// *ServiceError. The data of the response belong to the caller.
func (c *Client) Send(ctx context.Context, bus string, r ipmb.Request) (ipmi.Response, error) {
	member := "sendRequest"
	args := []any{uint8(r.Responder), uint8(r.NetFn), uint8(r.LUN), uint8(r.Command), append([]byte{}, r.Data...)}
	if options := optionsOf(r); len(options) > 0 {
		member = "sendRequestWithOptions"
		args = append(args, options)
	}
	var code uint8
	var data []byte
	_, err := c.callBus(ctx, bus, xml.BusInterface, member, []any{&code, &data}, args...)
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: data}, err
}

// optionsOf returns the options that differ from the settings of the bus.
func optionsOf(r ipmb.Request) map[string]any {
	options := map[string]any{}
	if r.RetryPolicy.Timeout != 0 {
		options["timeout-ms"] = uint32(r.RetryPolicy.Timeout.Milliseconds())
	}
	if r.RetryPolicy.Tries != 0 {
		options["tries"] = uint32(r.RetryPolicy.Tries)
	}
	if r.RequesterLUN != 0 {
		options["requester-lun"] = uint8(r.RequesterLUN)
	}
	if r.FailFast {
		options["fail-fast"] = true
	}
	if r.GeneralCall {
		options["broadcast"] = true
	}
	return options
}

// SendStorage sends a request of ipmi.NetFnStorage to the built-in BMC of ipmbd. A completion code is a
// result. The data of the response belong to the caller.
func (c *Client) SendStorage(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
	var code uint8
	var got []byte
	err := c.callBase(ctx, xml.RouterInterface, "SendStorageRequest", []any{&code, &got}, uint8(cmd), append([]byte{}, data...))
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: got}, err
}

// callBase calls a method of the object of the whole service.
func (c *Client) callBase(ctx context.Context, iface, member string, results []any, args ...any) error {
	return c.call(ctx, xml.BasePath, iface, member, results, args...)
}

// call calls a method of ipmbd and stores its results.
func (c *Client) call(ctx context.Context, path dbus.ObjectPath, iface, member string, results []any, args ...any) error {
	method := dbuswire.Method{Destination: xml.ServiceName, Path: path, Interface: iface, Member: member}
	body, err := c.conn.Call(ctx, method, args...)
	if err != nil {
		return serviceError(err)
	}
	if err := dbus.Store(body, results...); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return nil
}
