package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"ipmbd/ipmi"
	"ipmbd/ipmi/bmc"
)

// hungLog is a system's log that says nothing.
type hungLog struct{}

func (hungLog) Add(ctx context.Context, _ ipmi.Event) error { <-ctx.Done(); return ctx.Err() }

// An event that is in the log when its requester has been answered C3h already
// comes again, and is logged twice.
func TestEventIsLoggedInTheHandlersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &eventLog{system: hungLog{}, own: new(bmc.Log), log: zap.NewNop()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // "handler-timeout-ms": 1000
		defer cancel()
		begin := time.Now()
		if err := l.Add(ctx, ipmi.Event{}); err == nil && ctx.Err() != nil {
			t.Errorf("logged after %v, when the handler's time was over", time.Since(begin))
		}
	})
}
