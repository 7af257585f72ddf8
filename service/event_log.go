package service

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ipmbd/ipmi"
)

// systemLogTime is how long the system's log has to take an event, at most half
// of what there is.
const systemLogTime = 2 * time.Second

// eventLog keeps events in the system's log where there is one, and else in the
// built-in one.
type eventLog struct {
	system logOfEvents
	own    logOfEvents
	log    *zap.Logger
	full   atomic.Bool // it has been said that the built-in one is
}

// logOfEvents is as bridge.Log.
type logOfEvents interface {
	Add(ctx context.Context, e ipmi.Event) error
}

// Add implements bridge.Log. An event of which it is not known whether the
// system's log has it is kept in the built-in one, too.
func (l *eventLog) Add(ctx context.Context, e ipmi.Event) error {
	l.log.Debug("event", zap.String("bus", e.Interface), zap.Stringer("event", e))
	err := l.addToSystem(ctx, e)
	if err == nil {
		return nil
	}
	// In the log and not acknowledged it would come again.
	if ctx.Err() != nil {
		return ipmi.ErrTooSlow
	}
	if !errors.Is(err, ipmi.ErrNotPresent) {
		l.log.Warn("event not taken by the system's log; it is in the built-in one", zap.String("bus", e.Interface), zap.Error(err))
	}
	err = l.own.Add(ctx, e)
	if full := errors.Is(err, ipmi.ErrNoSpace); l.full.Swap(full) != full && full {
		l.log.Error("the built-in event log is full: events are refused until it is cleared: ipmbctl sel clear")
	}
	return err
}

func (l *eventLog) addToSystem(ctx context.Context, e ipmi.Event) error {
	limit := systemLogTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return l.system.Add(ctx, e)
}
