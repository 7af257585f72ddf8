package dbusapi

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// ServeStorage makes a handler answer SendStorageRequest; until then nobody is
// there to. Its requests come from no interface, on the channel of the system
// interface.
func (s *Server) ServeStorage(h ipmi.Handler) {
	mux := new(ipmi.Mux)
	mux.SetDefault("", h)
	s.storage.Store(mux)
}

// sendStorageRequest serves SendStorageRequest of the router.
func sendStorageRequest(ctx context.Context, c *call) ([]any, error) {
	storage := c.server.storage.Load()
	if storage == nil {
		return nil, ipmi.ErrNotPresent
	}
	res, err := ipmi.Do(ctx, storage, &ipmi.Request{
		Channel: ipmi.ChannelSystemInterface,
		NetFn:   ipmi.NetFnStorage,
		Command: ipmi.Command(c.args[0].(byte)),
		Data:    c.args[1].([]byte),
	})
	if err != nil {
		return nil, err
	}
	return []any{byte(res.Code), nonNil(res.Data)}, nil
}

// SendStorage has ipmbd's own BMC answer a request of ipmi.NetFnStorage. A
// completion code is a result. The answer's data belong to the caller.
func (c *Client) SendStorage(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
	const member = "SendStorageRequest"
	body, err := c.call(ctx, BasePath, routerInterface, member, uint8(cmd), nonNil(data))
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
