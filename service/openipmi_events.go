package service

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/ipmi"
	"ipmbd/service/config"
)

const (
	// maxOpenIPMIEvents is how many events are taken off the driver before they are in
	// the log. With more the driver is told to keep its own; it gives out those that it
	// has ready anyway, no more than its max_msgs_per_user of 100.
	maxOpenIPMIEvents = 16
	// openIPMILogTime is how long the log has for an event.
	openIPMILogTime = 5 * time.Second
	// openIPMILastTime is how long the log has for the last ones, when the bus ends.
	openIPMILastTime = endTime / 2
)

// openIPMIEvents are the events of a management controller on their way into the log
// and to those who have subscribed. They outlive the device that they came from: what
// the driver has given away nobody else has.
type openIPMIEvents struct {
	config config.Channel
	report func(ctx context.Context, e ipmi.Event) error
	log    *zap.Logger
	wake   chan struct{}
	turn   chan struct{} // full while somebody reports

	mu       sync.Mutex
	waiting  []ipmi.Event
	draining bool // no more are wanted
	received uint64
	others   uint64 // records that are no events
}

func newOpenIPMIEvents(ch config.Channel, report func(context.Context, ipmi.Event) error, log *zap.Logger) *openIPMIEvents {
	return &openIPMIEvents{config: ch, report: report, log: log, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
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
	q.look()
}

// look wakes run.
func (q *openIPMIEvents) look() {
	select {
	case q.wake <- struct{}{}:
	default: // It has been woken already.
	}
}

// run reports the events in order until ctx ends, each until the log has it.
func (q *openIPMIEvents) run(ctx context.Context, d openIPMIDevice) {
	var retry backoff
	wanted := false // by us, as the driver knows
	for ctx.Err() == nil {
		n, draining := q.state()
		if want := !draining && n < maxOpenIPMIEvents && (wanted || n == 0); want != wanted {
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

func (q *openIPMIEvents) state() (waiting int, draining bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.draining
}

// drain leaves to the driver what it has, and reports what is here until ctx ends,
// with or without a device.
func (q *openIPMIEvents) drain(ctx context.Context) {
	q.mu.Lock()
	q.draining = true
	q.look()
	q.mu.Unlock()
	var retry backoff
	for q.reportAll(ctx) != nil && ctx.Err() == nil {
		timer := time.NewTimer(retry.after(0))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// end reports what has come since, when run and drain have returned, and tells what
// the log does not take.
func (q *openIPMIEvents) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openIPMILastTime)
	defer cancel()
	if err := q.reportAll(ctx); err != nil {
		n, _ := q.state()
		q.log.Error("events of the controller are lost", zap.Int("events", n), zap.Error(err))
	}
}

// reportAll reports all events, until one cannot be.
func (q *openIPMIEvents) reportAll(ctx context.Context) error {
	for n, _ := q.state(); n > 0; n, _ = q.state() {
		if err := q.reportFirst(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reportFirst reports the oldest event, if there is one, and forgets it when it is in
// the log.
func (q *openIPMIEvents) reportFirst(ctx context.Context) error {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	q.mu.Lock()
	if len(q.waiting) == 0 {
		q.mu.Unlock()
		return nil
	}
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
