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

// legacySendRequest serves org.openbmc.Ipmb.sendRequest. The responder is the
// channel's remote address at LUN 0, and the call's LUN is the requester's, as
// with ipmbbridge.
func legacySendRequest(ctx context.Context, c *call) ([]any, error) {
	o := c.server.objects.channel(c.args[0].(byte))
	if o == nil {
		return nil, errUnknownChannel
	}
	req := ipmb.Request{
		NetFn:        ipmi.NetFn(c.args[1].(byte)),
		RequesterLUN: ipmi.LUN(c.args[2].(byte)),
		Command:      ipmi.Command(c.args[3].(byte)),
		Data:         c.args[4].([]byte),
		NoWait:       true,
	}
	res, err := o.do(ctx, req)
	if err != nil {
		return nil, err
	}
	return []any{legacyResponse{
		Status:  statusOK,
		NetFn:   uint8(req.NetFn.Response()),
		Command: uint8(req.Command),
		Code:    uint8(res.Code),
		Data:    res.Data,
	}}, nil
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
	data := make([]byte, 0, 1+len(f.Data))
	if f.NetFn.IsResponse() {
		data = append(data, byte(f.Code))
	}
	data = append(data, f.Data...)
	o.emit(BasePath, receiveBroadcast, byte(f.NetFn), byte(f.Command), data)
}
