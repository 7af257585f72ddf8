package service

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"ipmbd/ipmi"
)

// failureLog logs why requests had no answer of their handler's own. That a
// handler is missing or absent, or a command denied, is no failure of the
// handler, and a requester may ask often: debug.
type failureLog struct {
	next ipmi.Handler
	log  *zap.Logger
}

// ServeIPMI implements ipmi.Handler.
func (l failureLog) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	response, err := l.next.ServeIPMI(ctx, req)
	if err == nil || errors.Is(err, ipmi.ErrDeferred) {
		return response, err
	}
	log := l.log.Warn
	if ipmi.NotServed(err) {
		log = l.log.Debug
	}
	fields := []zap.Field{
		zap.Uint8("netfn", uint8(req.NetFn)),
		zap.Uint8("cmd", uint8(req.Command)),
		zap.Stringer("addr", req.Requester),
		zap.Stringer("cc", ipmi.CodeOf(err)),
		zap.Error(err),
	}
	if panicked := (*ipmi.PanicError)(nil); errors.As(err, &panicked) {
		log = l.log.Error
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	log("request not served", fields...)
	return response, err
}
