package dbusapi

import (
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// receiveBroadcast is the signal of org.openbmc.Ipmb.
const receiveBroadcast = xml.LegacyInterface + ".receiveBroadcast"

// legacyResponse is the one result of org.openbmc.Ipmb.sendRequest, a struct:
// clients decode a tuple.
type legacyResponse struct {
	Status  int32
	NetFn   uint8
	LUN     uint8 // the responder's
	Command uint8
	Code    uint8
	Data    []byte
}

// parseLegacy reads the arguments of org.openbmc.Ipmb.sendRequest: channel, netFn,
// requester's LUN, cmd and data. The responder is the channel's remote address at
// LUN 0, as ipmbbridge has it.
func parseLegacy(x *busCall, m *dbuswire.Message) error {
	args := m.Arguments()
	channel := args.Byte()
	x.request = ipmb.Request{
		NetFn:        ipmi.NetFn(args.Byte()),
		RequesterLUN: ipmi.LUN(args.Byte()),
		Command:      ipmi.Command(args.Byte()),
		Data:         args.Bytes(),
		NoWait:       true,
	}
	if !args.AtEnd() {
		return ipmb.ErrInvalid
	}
	if x.object = x.server.objects.channels.Find(channel); x.object == nil {
		return errUnknownChannel
	}
	return checkRequest(x.request.NetFn, 0, x.request.RequesterLUN)
}

// replyStatus makes the reply to org.openbmc.Ipmb.sendRequest: a status, and the
// response.
func (x *busCall) replyStatus(r ipmi.Response, err error) []byte {
	response := legacyResponse{Status: statusOf(err)}
	if err == nil {
		response.NetFn = uint8(x.request.NetFn.Response())
		response.Command = uint8(x.request.Command)
		response.Code, response.Data = uint8(r.Code), r.Data
	}
	return response.marshalIn(x.reply, &x.to)
}

// marshalIn makes a method return with one struct of the types (iyyyyay).
func (r *legacyResponse) marshalIn(b []byte, to *dbuswire.ReplyTo) []byte {
	h := to.Header(responseSignature)
	b = dbuswire.AppendUint32(h.BeginIn(b), uint32(r.Status))
	b = append(b, r.NetFn, r.LUN, r.Command, r.Code)
	return dbuswire.Finish(dbuswire.AppendBytes(b, r.Data))
}

// Received is to be called with each valid frame on the bus, see ipmb.Config.
// It emits receiveBroadcast for buses of type ipmb and does not block; f.Data
// is not kept.
func (o *BusObject) Received(f ipmb.Frame) {
	if o.index&channelTypeMask != channelTypeIPMB || ipmi.CarriesSecret(f.NetFn, f.Command, f.Data) {
		return
	}
	var code []byte // before the data of an answer
	if f.NetFn.IsResponse() {
		code = []byte{byte(f.Code)}
	}
	b := o.server.signal(BasePath, receiveBroadcast, "yyay", 9+len(f.Data))
	b = append(b, byte(f.NetFn), byte(f.Command))
	b = dbuswire.AppendUint32(b, uint32(len(code)+len(f.Data)))
	b = append(b, code...)
	b = append(b, f.Data...)
	o.emit(b)
}
