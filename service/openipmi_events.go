package service

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/ipmi"
)

const (
	// maxOpenIPMIEvents is how many events are taken off the driver before they are in
	// the log. With more the driver is told to keep its own; it gives out those that it
	// has ready anyway, no more than its max_msgs_per_user of 100.
	maxOpenIPMIEvents = 16
	// openIPMILogTime is how long the log has for an event.
	openIPMILogTime = 5 * time.Second
)

// openIPMIEvents are the events of a management controller on their way into the log
// and to those who have subscribed. They outlive the device that they came from: what
// the driver has given away nobody else has.
type openIPMIEvents struct {
	config ChannelConfig
	report func(ctx context.Context, e ipmi.Event) error
	log    *zap.Logger
	wake   chan struct{}

	mu       sync.Mutex
	waiting  []ipmi.Event
	received uint64
	others   uint64 // records that are no events
}

func newOpenIPMIEvents(ch ChannelConfig, report func(context.Context, ipmi.Event) error, log *zap.Logger) *openIPMIEvents {
	return &openIPMIEvents{config: ch, report: report, log: log, wake: make(chan struct{}, 1)}
}

// take takes a record of the driver's. One of an OEM type is in the controller's log
// and no event that could be reported.
func (q *openIPMIEvents) take(record []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.received++
	e, ok := ipmi.EventOf(record)
	if !ok {
		q.others++
		return
	}
	e.Interface, e.Channel, e.Host = q.config.Name, ipmi.ChannelSystemInterface, q.config.DevIndex
	q.waiting = append(q.waiting, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run reports the events in order until ctx ends, each until the log has it.
func (q *openIPMIEvents) run(ctx context.Context, d openIPMIDevice) {
	var retry backoff
	wanted := false // by us, as the driver knows
	for ctx.Err() == nil {
		n := q.len()
		if want := n < maxOpenIPMIEvents && (wanted || n == 0); want != wanted {
			if err := d.SetEvents(want); err != nil {
				q.log.Warn("events are not received", zap.Error(err))
				return // The device ends as well.
			}
			wanted = want
		}
		if n == 0 {
			q.wait(ctx, nil)
			continue
		}
		switch err := q.reportFirst(ctx); {
		case err == nil:
			retry = backoff{}
		case ctx.Err() == nil:
			q.log.Warn("event is not in the log yet", zap.Error(err))
			timer := time.NewTimer(retry.after(0))
			q.wait(ctx, timer.C)
			timer.Stop()
		}
	}
}

// wait waits for something to do; later is when there is, though nothing has come.
func (q *openIPMIEvents) wait(ctx context.Context, later <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-q.wake:
	case <-later:
	}
}

func (q *openIPMIEvents) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// reportFirst reports the oldest event, and forgets it when it is in the log.
func (q *openIPMIEvents) reportFirst(ctx context.Context) error {
	q.mu.Lock()
	e := q.waiting[0]
	q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, openIPMILogTime)
	defer cancel()
	if err := q.report(ctx, e); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = q.waiting[1:]
	return nil
}

func (q *openIPMIEvents) counters() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return map[string]uint64{"driver-events": q.received, "driver-events-other": q.others}
}
