package dbusapi

import (
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Types of the methods that send.
const (
	requestSignature   = "yyyyay"
	optionsSignature   = "yyyyaya{sv}"
	broadcastSignature = "yyyay"
	responseSignature  = "(iyyyyay)"
)

// errArgs: the body of a message is not of the types that its header says, which no
// message bus lets pass.
var errArgs = &dbus.Error{Name: xml.ErrorInvalidArgs, Body: []any{"the message cannot be read"}}

// parseRequest reads the arguments of sendRequest of a bus.
func parseRequest(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	if err := x.parseRequest(&args); err != nil {
		return err
	}
	if !args.AtEnd() {
		return errArgs
	}
	return checkRequest(x.request.NetFn, x.request.LUN, 0)
}

// parseRequest reads responder, netFn, lun, cmd and data.
func (x *busCall) parseRequest(args *dbuswire.Reader) error {
	responder := ipmi.Address(args.Byte())
	x.request = ipmb.Request{
		Responder: responder,
		NetFn:     ipmi.NetFn(args.Byte()),
		LUN:       ipmi.LUN(args.Byte()),
		Command:   ipmi.Command(args.Byte()),
		Data:      args.Bytes(),
	}
	if !args.OK() {
		return errArgs
	}
	if responder != 0 && !responder.IsSlave() {
		return fmt.Errorf("%w: responder %v: an 8-bit address is even", ipmb.ErrInvalid, responder)
	}
	return nil
}

// parseRequestWithOptions reads the same and options, a{sv}.
func parseRequestWithOptions(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	if err := x.parseRequest(&args); err != nil {
		return err
	}
	if err := checkRequest(x.request.NetFn, x.request.LUN, 0); err != nil {
		return err
	}
	err := args.Dictionary(func(name, signature string) error { return setOption(&x.request, name, signature, &args) })
	if err == nil && !args.OK() {
		err = errArgs
	}
	if err != nil {
		return err
	}
	return checkRequest(x.request.NetFn, x.request.LUN, x.request.RequesterLUN)
}

// replyAnswer makes the reply to sendRequest: yay or an error.
func (x *busCall) replyAnswer(r ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.ErrorIn(x.reply, asDBusError(err))
	}
	h := x.to.Header("yay")
	b := append(h.BeginIn(x.reply), byte(r.Code))
	return dbuswire.Finish(dbuswire.AppendBytes(b, r.Data))
}

// parseBroadcast reads netFn, lun, cmd and data.
func parseBroadcast(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	x.request = ipmb.Request{
		NetFn:        ipmi.NetFn(args.Byte()),
		RequesterLUN: ipmi.LUN(args.Byte()),
		Command:      ipmi.Command(args.Byte()),
		Data:         args.Bytes(),
	}
	if !args.AtEnd() {
		return errArgs
	}
	return checkBroadcast(&x.request)
}

// checkBroadcast is checkRequest for a broadcast, which has one LUN.
func checkBroadcast(req *ipmb.Request) error { return checkRequest(req.NetFn, req.RequesterLUN, 0) }

// replyNothing makes the reply to sendBroadcast.
func (x *busCall) replyNothing(_ ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.ErrorIn(x.reply, asDBusError(err))
	}
	h := x.to.Header("")
	return dbuswire.Finish(h.BeginIn(x.reply))
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
func setOption(req *ipmb.Request, name, signature string, r *dbuswire.Reader) error {
	o, known := options()[name]
	if !known {
		return fmt.Errorf("%w: option %q is not known", ipmb.ErrInvalid, name)
	}
	if signature != o.signature {
		return fmt.Errorf("%w: option %q is of type '%s', not '%s'", ipmb.ErrInvalid, name, o.signature, signature)
	}
	n := r.Number(signature)
	if !r.OK() {
		return errArgs
	}
	var value any
	switch signature {
	case "y":
		value = byte(n)
	case "b":
		value = n != 0
	default:
		value = uint32(n)
	}
	return o.set(req, value)
}
