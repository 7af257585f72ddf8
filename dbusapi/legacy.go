package dbusapi

import (
	"context"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// receiveBroadcast is the signal of org.openbmc.Ipmb.
const receiveBroadcast = legacyInterface + ".receiveBroadcast"

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

// legacySendRequest serves org.openbmc.Ipmb.sendRequest, as far as takeRequest
// has left a call to the library.
func legacySendRequest(ctx context.Context, c *call) ([]any, error) {
	response, err := c.server.exchange(ctx, requestArgs{
		c.args[0].(byte), c.args[1].(byte), c.args[2].(byte), c.args[3].(byte), c.args[4].([]byte),
	})
	return []any{response}, err
}

// exchange sends a request as ipmbbridge does: the responder is the channel's
// remote address at LUN 0, and the call's LUN is the requester's.
func (s *Server) exchange(ctx context.Context, args requestArgs) (legacyResponse, error) {
	o := s.objects.channel(args.channel)
	if o == nil {
		return legacyResponse{}, errUnknownChannel
	}
	req := ipmb.Request{
		NetFn:        ipmi.NetFn(args.netFn),
		RequesterLUN: ipmi.LUN(args.lun),
		Command:      ipmi.Command(args.cmd),
		Data:         args.data,
		NoWait:       true,
	}
	res, err := o.do(ctx, req)
	if err != nil {
		return legacyResponse{}, err
	}
	return legacyResponse{
		Status:  int32(ipmb.StatusOK),
		NetFn:   uint8(req.NetFn.Response()),
		Command: args.cmd,
		Code:    uint8(res.Code),
		Data:    res.Data,
	}, nil
}

// statusReply answers with a status instead of an error.
func statusReply(err error) ([]any, error) {
	return []any{legacyResponse{Status: statusOf(err)}}, nil
}

// Received is to be called with each valid frame on the bus, see ipmb.Observer.
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
	b = appendUint32(b, uint32(len(code)+len(f.Data)))
	b = append(b, code...)
	b = append(b, f.Data...)
	o.emit(b)
}
