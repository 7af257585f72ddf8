package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
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
	tracedSignature    = "ssyayayu"
)

// errArgs: the body of a message does not have the types that its header says. No message bus
// lets such a message pass.
var errArgs = &dbus.Error{Name: xml.ErrorInvalidArgs, Body: []any{"the message cannot be read"}}

// readRequest reads netFn, LUN, cmd and data.
func readRequest(args *dbuswire.Reader) (lun ipmi.LUN, req ipmb.Request) {
	req.NetFn, lun, req.Command = ipmi.NetFn(args.Byte()), ipmi.LUN(args.Byte()), ipmi.Command(args.Byte())
	req.Data = args.Bytes()
	return lun, req
}

// parseLegacy reads the arguments of org.openbmc.Ipmb.sendRequest: channel, netFn, requester's
// LUN, cmd and data. The responder is the channel's remote address at LUN 0, as ipmbbridge has it.
func parseLegacy(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	channel := args.Byte()
	lun, req := readRequest(&args)
	req.RequesterLUN, req.NoWait = lun, true
	x.request = req
	if !args.AtEnd() {
		return ipmb.ErrInvalid
	}
	if x.object = x.server.objects.channels.Find(channel); x.object == nil {
		return errUnknownChannel
	}
	return checkRequest(req)
}

// parseRequest reads the arguments of sendRequest, and of the methods in which a{sv}
// follows.
func parseRequest(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	responder := ipmi.Address(args.Byte())
	lun, req := readRequest(&args)
	req.Responder, req.LUN = responder, lun
	x.request = req
	if string(m.Signature) == optionsSignature {
		err := args.Dictionary(func(name, signature string) error { return setOption(&x.request, name, signature, &args) })
		if err != nil {
			return err
		}
	}
	if !args.AtEnd() {
		return errArgs
	}
	return checkRequest(x.request)
}

// parseBroadcast reads the arguments of sendBroadcast.
func parseBroadcast(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	lun, req := readRequest(&args)
	req.RequesterLUN = lun
	x.request = req
	if !args.AtEnd() {
		return errArgs
	}
	return checkRequest(req)
}

// checkRequest returns an error for a wrong request, before the request takes a place on the bus.
// A responder of 0 is the remote address, and a broadcast has no responder.
func checkRequest(req ipmb.Request) error {
	if req.Responder == 0 {
		req.Responder = 0x20 // as good as any
	}
	return req.Check()
}

// setOption reads the value of an option of a request.
func setOption(req *ipmb.Request, name, signature string, r *dbuswire.Reader) error {
	wanted, known := options[name]
	switch {
	case !known:
		return fmt.Errorf("%w: option %q is not known", ipmb.ErrInvalid, name)
	case signature != wanted:
		return fmt.Errorf("%w: option %q is of type '%s', not '%s'", ipmb.ErrInvalid, name, wanted, signature)
	}
	n := uint32(r.Number(signature))
	if !r.OK() {
		return errArgs
	}
	switch name {
	case "timeout-ms":
		return setTimeout(&req.RetryPolicy, n)
	case "tries":
		return setTries(&req.RetryPolicy, n)
	case "requester-lun":
		req.RequesterLUN = ipmi.LUN(n)
	case "fail-fast":
		req.FailFast = n != 0
	case "broadcast":
		req.GeneralCall = n != 0
	}
	return nil
}

// options are the options of a request, and their types.
var options = map[string]string{"timeout-ms": "u", "tries": "u", "requester-lun": "y", "fail-fast": "b", "broadcast": "b"}

// setTimeout takes milliseconds. 0 would be the default; checkRequest knows the other bounds.
func setTimeout(p *ipmb.RetryPolicy, milliseconds uint32) error {
	p.Timeout = time.Duration(milliseconds) * time.Millisecond
	if p.Timeout == 0 {
		return fmt.Errorf("%w: time-out of 0: %v to %v are possible", ipmb.ErrInvalid, ipmb.MinTimeout, ipmb.MaxTimeout)
	}
	return nil
}

// setTries takes a number of tries, as setTimeout does.
func setTries(p *ipmb.RetryPolicy, tries uint32) error {
	p.Tries = int(tries)
	if p.Tries == 0 {
		return fmt.Errorf("%w: 0 tries: 1 to %d are possible", ipmb.ErrInvalid, ipmb.MaxTries)
	}
	return nil
}

// statusReply makes the reply to org.openbmc.Ipmb.sendRequest: one struct of the types (iyyyyay)
// with status, netFn, responder's LUN, command, completion code and data. Clients decode a tuple.
// A status could not say that the configuration lacks a key, so that is a D-Bus error.
func (x *busCall) statusReply(r ipmi.Response, err error) []byte {
	if errors.Is(err, bus.ErrNoRemote) {
		return x.to.ErrorIn(x.memory, asDBusError(err))
	}
	h := x.to.Header(responseSignature)
	b := dbuswire.AppendUint32(h.BeginIn(x.memory), uint32(statusOf(err)))
	if err != nil {
		return dbuswire.Finish(dbuswire.AppendBytes(append(b, 0, 0, 0, 0), nil))
	}
	b = append(b, byte(x.request.NetFn.Response()), 0, byte(x.request.Command), byte(r.Code))
	return dbuswire.Finish(dbuswire.AppendBytes(b, r.Data))
}

// answerReply makes the reply to sendRequest of a bus: yay or an error.
func (x *busCall) answerReply(r ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.ErrorIn(x.memory, asDBusError(err))
	}
	h := x.to.Header("yay")
	return dbuswire.Finish(dbuswire.AppendBytes(append(h.BeginIn(x.memory), byte(r.Code)), r.Data))
}

// tracedReply makes the reply to sendTracedRequest: the name and the text of an error, completion
// code, data, the request frame, and how often it was written. While another goroutine ends the
// call, as for a client that has left, the frame is not looked at.
func (x *busCall) tracedReply(r ipmi.Response, err error) []byte {
	var name, text string
	if err != nil {
		failure := asDBusError(err)
		name = failure.Name
		if len(failure.Body) > 0 {
			text, _ = failure.Body[0].(string)
		}
	}
	var frame []byte
	var writes int
	if !errors.Is(err, context.Canceled) {
		frame, writes = x.call.Trace()
	}
	h := x.to.Header(tracedSignature)
	b := dbuswire.AppendString(dbuswire.AppendString(h.BeginIn(x.memory), name), text)
	b = dbuswire.AppendBytes(dbuswire.AppendBytes(append(b, byte(r.Code)), r.Data), frame)
	return dbuswire.Finish(dbuswire.AppendUint32(b, uint32(writes)))
}

// emptyReply makes the reply to sendBroadcast.
func (x *busCall) emptyReply(_ ipmi.Response, err error) []byte {
	if err != nil {
		return x.to.ErrorIn(x.memory, asDBusError(err))
	}
	h := x.to.Header("")
	return dbuswire.Finish(h.BeginIn(x.memory))
}
