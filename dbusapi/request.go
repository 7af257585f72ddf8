package dbusapi

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// sendRequest serves xyz.openbmc_project.Ipmi.Channel.Ipmb.sendRequest.
func sendRequest(ctx context.Context, c *call) ([]any, error) {
	return c.exchange(ctx, c.request())
}

// sendRequestWithOptions serves the method of that name.
func sendRequestWithOptions(ctx context.Context, c *call) ([]any, error) {
	req := c.request()
	for name, value := range c.args[5].(map[string]dbus.Variant) {
		if err := setOption(&req, name, value); err != nil {
			return nil, err
		}
	}
	return c.exchange(ctx, req)
}

// request reads the first five arguments: responder, netFn, lun, cmd, data.
func (c *call) request() ipmb.Request {
	return ipmb.Request{
		Responder: ipmi.Address(c.args[0].(byte)),
		NetFn:     ipmi.NetFn(c.args[1].(byte)),
		LUN:       ipmi.LUN(c.args[2].(byte)),
		Command:   ipmi.Command(c.args[3].(byte)),
		Data:      c.args[4].([]byte),
	}
}

func (c *call) exchange(ctx context.Context, req ipmb.Request) ([]any, error) {
	if req.Responder != 0 && !req.Responder.IsSlave() {
		return nil, fmt.Errorf("%w: responder %v: an 8-bit address is even", ipmb.ErrInvalid, req.Responder)
	}
	res, err := c.object.bus.do(ctx, req)
	if err != nil {
		return nil, err
	}
	return []any{byte(res.Code), res.Data}, nil
}

// options is the table of options of a request. The value that set gets is of
// the signature's type.
func options() map[string]option {
	return map[string]option{
		"timeout-ms": {"u", func(r *ipmb.Request, v any) error { return setTimeout(&r.Policy, v) }},
		"tries":      {"u", func(r *ipmb.Request, v any) error { return setTries(&r.Policy, v) }},
		"requester-lun": {"y", func(r *ipmb.Request, v any) error {
			r.RequesterLUN = ipmi.LUN(v.(byte))
			return nil
		}},
		"fail-fast": {"b", func(r *ipmb.Request, v any) error {
			r.FailFast = v.(bool)
			return nil
		}},
		"broadcast": {"b", func(r *ipmb.Request, v any) error {
			r.GeneralCall = v.(bool)
			return nil
		}},
	}
}

type option struct {
	signature string
	set       func(*ipmb.Request, any) error
}

func setOption(req *ipmb.Request, name string, value dbus.Variant) error {
	o, known := options()[name]
	if !known {
		return fmt.Errorf("%w: option %q is not known", ipmb.ErrInvalid, name)
	}
	if got := value.Signature().String(); got != o.signature {
		return fmt.Errorf("%w: option %q is of type '%s', not '%s'", ipmb.ErrInvalid, name, o.signature, got)
	}
	return o.set(req, value.Value())
}

// sendBroadcast serves xyz.openbmc_project.Ipmi.Channel.Ipmb.sendBroadcast.
func sendBroadcast(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.bus.broadcast(ctx,
		ipmi.NetFn(c.args[0].(byte)), ipmi.LUN(c.args[1].(byte)), ipmi.Command(c.args[2].(byte)), c.args[3].([]byte))
}
