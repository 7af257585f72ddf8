package dbusapi

import (
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Types of the methods that send.
const (
	requestSignature   = "yyyyay"
	optionsSignature   = "yyyyaya{sv}"
	broadcastSignature = "yyyay"
	responseSignature  = "(iyyyyay)"
)

// requestArgs is the first five arguments of a method that sends a request: a channel
// or a responder, and what is to be sent. data is a view.
type requestArgs struct {
	to, netFn, lun, cmd byte
	data                []byte
}

// parseArgs reads arguments of the types yyyyay, and gives what follows them.
func parseArgs(m *wireMessage) (args requestArgs, rest []byte, ok bool) {
	if len(m.body) < 4 {
		return requestArgs{}, nil, false
	}
	data, rest, ok := m.order.bytesIn(m.body[4:])
	return requestArgs{m.body[0], m.body[1], m.body[2], m.body[3], data}, rest, ok
}

// errArgs: the body of a message is not of the types that its header says, which no
// message bus lets pass.
var errArgs = &dbus.Error{Name: errorInvalidArgs, Body: []any{"the message cannot be read"}}

// parseRequest reads the arguments of sendRequest of a bus.
func parseRequest(x *busCall, m *wireMessage) error {
	rest, err := x.parseRequest(m)
	if err == nil && len(rest) > 0 {
		return errArgs
	}
	return err
}

// parseRequest reads responder, netFn, lun, cmd and data.
func (x *busCall) parseRequest(m *wireMessage) (rest []byte, err error) {
	args, rest, ok := parseArgs(m)
	if !ok {
		return nil, errArgs
	}
	responder := ipmi.Address(args.to)
	if responder != 0 && !responder.IsSlave() {
		return nil, fmt.Errorf("%w: responder %v: an 8-bit address is even", ipmb.ErrInvalid, responder)
	}
	x.request = ipmb.Request{
		Responder: responder,
		NetFn:     ipmi.NetFn(args.netFn),
		LUN:       ipmi.LUN(args.lun),
		Command:   ipmi.Command(args.cmd),
		Data:      args.data,
	}
	return rest, checkRequest(x.request.NetFn, x.request.LUN, 0)
}

// parseRequestWithOptions reads the same and options, a{sv}.
func parseRequestWithOptions(x *busCall, m *wireMessage) error {
	rest, err := x.parseRequest(m)
	if err != nil {
		return err
	}
	if err := x.parseOptions(m.order, rest, len(m.body)-len(rest)); err != nil {
		return err
	}
	return checkRequest(x.request.NetFn, x.request.LUN, x.request.RequesterLUN)
}

// parseOptions reads a dictionary that is all of b, which begins at an offset of the
// body.
func (x *busCall) parseOptions(order byteOrder, b []byte, offset int) error {
	r := wireReader{order: order, b: b, offset: offset}
	length := int(r.uint32())
	if length == 0 && !r.failed {
		return nil
	}
	r.align(8)
	if r.failed || length != len(r.b) {
		return errArgs
	}
	for len(r.b) > 0 && !r.failed {
		r.align(8)
		name, signature := r.string(), r.signature()
		if r.failed {
			break
		}
		if err := setOption(&x.request, string(name), string(signature), &r); err != nil {
			return err
		}
	}
	if r.failed {
		return errArgs
	}
	return nil
}

// replyAnswer makes the reply to sendRequest: yay or an error.
func (x *busCall) replyAnswer(r ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.errorIn(x.reply, asDBusError(err))
	}
	h := x.to.header("yay")
	b := append(h.marshalIn(x.reply), byte(r.Code))
	return finish(appendBytes(b, r.Data))
}

// parseBroadcast reads netFn, lun, cmd and data.
func parseBroadcast(x *busCall, m *wireMessage) error {
	if len(m.body) < 4 {
		return errArgs
	}
	data, rest, ok := m.order.bytesIn(m.body[4:])
	if !ok || len(rest) > 0 {
		return errArgs
	}
	x.request = ipmb.Request{
		NetFn:        ipmi.NetFn(m.body[0]),
		RequesterLUN: ipmi.LUN(m.body[1]),
		Command:      ipmi.Command(m.body[2]),
		Data:         data,
	}
	return checkBroadcast(&x.request)
}

// checkBroadcast is checkRequest for a broadcast, which has one LUN.
func checkBroadcast(req *ipmb.Request) error { return checkRequest(req.NetFn, req.RequesterLUN, 0) }

// replyNothing makes the reply to sendBroadcast.
func (x *busCall) replyNothing(_ ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.errorIn(x.reply, asDBusError(err))
	}
	h := x.to.header("")
	return finish(h.marshalIn(x.reply))
}

// options is the table of options of a request. The value that set gets is of
// the signature's type.
func options() map[string]option {
	return map[string]option{
		"timeout-ms": {"u", func(r *ipmb.Request, v any) error { return setTimeout(&r.RetryPolicy, v) }},
		"tries":      {"u", func(r *ipmb.Request, v any) error { return setTries(&r.RetryPolicy, v) }},
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

// setOption reads the value of an option.
func setOption(req *ipmb.Request, name, signature string, r *wireReader) error {
	o, known := options()[name]
	if !known {
		return fmt.Errorf("%w: option %q is not known", ipmb.ErrInvalid, name)
	}
	if signature != o.signature {
		return fmt.Errorf("%w: option %q is of type '%s', not '%s'", ipmb.ErrInvalid, name, o.signature, signature)
	}
	return o.set(req, r.basic(o.signature))
}
