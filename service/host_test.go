package service

import (
	"context"
	"testing"

	"ipmbd/ipmi"
)

func TestLateAsGone(t *testing.T) {
	for err, want := range map[error]ipmi.CompletionCode{
		ipmi.ErrTooSlow:          ipmi.CodeNoResponse,
		context.DeadlineExceeded: ipmi.CodeNoResponse,
		ipmi.ErrNoHandler:        ipmi.CodeInvalidCommand,
		nil:                      ipmi.CodeOK,
	} {
		h := lateAsGone(ipmi.HandlerFunc(func(context.Context, *ipmi.Request) (ipmi.Response, error) {
			return ipmi.Response{Data: []byte{1}}, err
		}))
		res, got := h.ServeIPMI(t.Context(), &ipmi.Request{})
		if ipmi.CodeOf(got) != want || len(res.Data) != 1 {
			t.Errorf("%v: %v, %v", err, res, got)
		}
	}
}
