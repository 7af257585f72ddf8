package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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

// Client calls ipmbd over a message bus. Its methods may be called from several goroutines at
// once. They wait as long as their context allows; ipmbd ends every request in bounded time.
type Client struct {
	// NoAutoStart: the message bus does not start ipmbd for a call. Set it before the first call.
	NoAutoStart bool

	conn    *dbuswire.Conn
	address string
	seen    atomic.Bool // of ask
}

// Open connects to the message bus at address: a D-Bus address, SystemBus or SessionBus. It
// returns ErrNoMessageBus, ErrBusSilent or the error of ctx. Open does not need ipmbd.
func Open(ctx context.Context, address string) (*Client, error) {
	conn, err := connect(ctx, dbuswire.Config{Address: address})
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, address: address}, nil
}

func connect(ctx context.Context, config dbuswire.Config) (conn *dbuswire.Conn, err error) {
	err = askBus(ctx, func(ctx context.Context) error {
		conn, err = dbuswire.Dial(ctx, config)
		return err
	})
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, ErrBusSilent):
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", ErrNoMessageBus, err)
}

// Close closes the connection. Calls in progress return ErrDisconnected.
func (c *Client) Close() error { return c.conn.Close() }

// Send sends a request on a bus and returns the response. A responder of 0 is the bus's remote
// address. NoWait is not supported. A completion code is a result; a request without a response is
// a *ServiceError. The data of the response belong to the caller.
func (c *Client) Send(ctx context.Context, bus string, r ipmb.Request) (ipmi.Response, error) {
	member := "sendRequest"
	args := []any{uint8(r.Responder), uint8(r.NetFn), uint8(r.LUN), uint8(r.Command), notNil(r.Data)}
	if options := optionsOf(r); len(options) > 0 {
		member = "sendRequestWithOptions"
		args = append(args, options)
	}
	var code uint8
	var data []byte
	_, err := c.callBus(ctx, bus, xml.BusInterface, member, []any{&code, &data}, args...)
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: data}, err
}

// Trace is how a request went over its bus.
type Trace struct {
	Request  []byte // the request frame, from the responder's address on; nil if it was not sent
	Response []byte // the response frame, from our address on; nil without a response
	Writes   int    // how often the request was sent
}

// SendTraced sends a request as Send does, and returns also how it went, with an error too. The
// trace is empty on a bus behind Linux's IPMI driver, which does not tell.
func (c *Client) SendTraced(ctx context.Context, bus string, r ipmb.Request) (ipmi.Response, Trace, error) {
	var failure, text string
	var code uint8
	var data []byte
	var trace Trace
	var writes uint32
	_, err := c.callBus(ctx, bus, xml.BusInterface, "sendTracedRequest",
		[]any{&failure, &text, &code, &data, &trace.Request, &writes},
		uint8(r.Responder), uint8(r.NetFn), uint8(r.LUN), uint8(r.Command), notNil(r.Data), optionsOf(r))
	trace.Writes = int(writes)
	switch {
	case err != nil:
		return ipmi.Response{}, Trace{}, err
	case failure != "":
		return ipmi.Response{}, trace, serviceError(dbus.Error{Name: failure, Body: []any{text}})
	}
	response := ipmi.Response{Code: ipmi.CompletionCode(code), Data: data}
	trace.Response = responseFrame(trace.Request, response)
	return response, trace, nil
}

// responseFrame is the frame of a response to a request: ipmbd accepts no other.
func responseFrame(request []byte, response ipmi.Response) []byte {
	const generalCall = 0x00
	if len(request) > ipmb.MinRequest && request[0] == generalCall {
		request = request[1:]
	}
	to, err := ipmb.Decode(request)
	if err != nil {
		return nil
	}
	return ipmb.Frame{
		Destination: to.Source, DestinationLUN: to.SourceLUN, Source: to.Destination, SourceLUN: to.DestinationLUN,
		NetFn: to.NetFn.Response(), Sequence: to.Sequence, Command: to.Command, Code: response.Code, Data: response.Data,
	}.Append(nil)
}

// notNil copies data for an array of D-Bus, which cannot be nil.
func notNil(data []byte) []byte { return append([]byte{}, data...) }

// optionsOf returns the options that differ from the settings of the bus.
func optionsOf(r ipmb.Request) map[string]any {
	options := map[string]any{}
	set := func(name string, value any, wanted bool) {
		if wanted {
			options[name] = value
		}
	}
	set("timeout-ms", uint32(r.RetryPolicy.Timeout.Milliseconds()), r.RetryPolicy.Timeout != 0)
	set("tries", uint32(r.RetryPolicy.Tries), r.RetryPolicy.Tries != 0)
	set("requester-lun", uint8(r.RequesterLUN), r.RequesterLUN != 0)
	set("fail-fast", true, r.FailFast)
	set("broadcast", true, r.GeneralCall)
	return options
}

// SendStorage sends a request of ipmi.NetFnStorage to the built-in BMC of ipmbd. A completion code
// is a result. The data of the response belong to the caller.
func (c *Client) SendStorage(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
	var code uint8
	var got []byte
	err := c.call(ctx, xml.BasePath, xml.RouterInterface, "SendStorageRequest", []any{&code, &got},
		uint8(cmd), notNil(data))
	return ipmi.Response{Code: ipmi.CompletionCode(code), Data: got}, err
}

// call calls a method of ipmbd and stores its results.
func (c *Client) call(
	ctx context.Context, path dbus.ObjectPath, iface, member string, results []any, args ...any,
) error {
	body, err := ask(ctx, c.conn, &c.seen, dbuswire.Method{
		Destination: xml.ServiceName, Path: path, Interface: iface, Member: member, NoAutoStart: c.NoAutoStart,
	}, args...)
	if err != nil {
		return serviceError(err)
	}
	if err := dbus.Store(body, results...); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOtherService, member, err)
	}
	return nil
}
