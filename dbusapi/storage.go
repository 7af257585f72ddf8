package dbusapi

import (
	"context"

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

// nonNil makes data an array of bytes for D-Bus, which knows no nil.
func nonNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
