package service

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// requestLog logs requests that have come in, but for their data: why they had no
// answer of their handler's own and, for debugging, their completion code. That a
// handler is missing or absent, or a command denied, is no failure of the handler,
// and a requester may ask often: debug.
type requestLog struct{ log *zap.Logger }

// served is told how each request ended, see ipmb.Config.
func (l requestLog) served(req *ipmi.Request, code ipmi.CompletionCode, err error) {
	switch {
	case err != nil:
		l.failed(req, err)
	case l.log.Core().Enabled(zap.DebugLevel):
		l.log.Debug("request served", requestFields(req, code)...)
	}
}

func (l requestLog) failed(req *ipmi.Request, err error) {
	log := l.log.Warn
	if ipmi.NotServed(err) {
		log = l.log.Debug
	}
	fields := append(requestFields(req, ipmi.CodeOf(err)), zap.Error(err))
	if panicked := (*ipmi.PanicError)(nil); errors.As(err, &panicked) {
		log = l.log.Error
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	log("request not served", fields...)
}

// sent is told how each request to a bus ended, see bus.Config.
func (l requestLog) sent(req *ipmb.Request, res ipmi.Response, err error) {
	l.log.Debug("request sent", zap.Stringer("addr", req.Responder), zap.String("netfn", hexByte(req.NetFn)),
		zap.String("cmd", hexByte(req.Command)), zap.Stringer("cc", res.Code), zap.Error(err))
}

// requestFields are what a request was, and its completion code, but for its data.
func requestFields(req *ipmi.Request, code ipmi.CompletionCode) []zap.Field {
	return []zap.Field{
		zap.Stringer("addr", req.Requester),
		zap.String("netfn", hexByte(req.NetFn)),
		zap.String("cmd", hexByte(req.Command)),
		zap.String("seq", hexByte(req.Sequence)),
		zap.Stringer("cc", code),
	}
}

// hexByte is a number as the field writes it: "2Ch".
func hexByte[N ~uint8](n N) string { return fmt.Sprintf("%02Xh", uint8(n)) }
