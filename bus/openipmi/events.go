package openipmi

import (
	"context"
	"sync"
	"time"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/ipmi"
)

const (
	// maxEvents is how many events are taken from the driver before they are in the log. With that
	// many, SetEvents tells the driver to keep further ones; it still passes on the events that it
	// has ready, at most its max_msgs_per_user of 100.
	maxEvents = 16
	// logTime is how long the log has for an event.
	logTime = 5 * time.Second
	// lastLogTime is how long the log has for the last events, when the bus ends.
	lastLogTime = time.Second
)

// events are the events of a management controller on their way into the log. They outlive the
// device that they came from, because the driver keeps no copy of an event.
type events struct {
	config Config
	counts counters.Set[counter]
	wake   chan struct{}
	turn   chan struct{} // full while a goroutine reports

	mu       sync.Mutex
	waiting  []ipmi.Event
	draining bool // no more are wanted
}

// takeRecord takes a record of the driver's. One of an OEM type is no event to report.
func (q *events) takeRecord(record []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.Count(driverEvents)
	e, ok := ipmi.EventOf(record)
	if !ok {
		q.counts.Count(driverEventsOther)
		return
	}
	e.Interface, e.Channel, e.Host = q.config.Name, ipmi.ChannelSystemInterface, q.config.Engine.Host
	q.waiting = append(q.waiting, e)
	q.wakeReporter()
}

func (q *events) wakeReporter() {
	select {
	case q.wake <- struct{}{}:
	default: // It has been woken already.
	}
}

// reportUntilEnd reports the events in order until ctx ends, each until the log has it.
func (q *events) reportUntilEnd(ctx context.Context, d device) {
	var retry bus.Backoff
	wanted := false // by us, as the driver knows
	for ctx.Err() == nil {
		n, draining := q.state()
		if want := !draining && n < maxEvents && (wanted || n == 0); want != wanted {
			if err := d.SetEvents(want); err != nil {
				q.config.Trouble("events are not received", 0, err)
				return // The device ends as well.
			}
			wanted = want
		}
		var later <-chan time.Time
		if n > 0 {
			err := q.reportFirst(ctx)
			if err == nil {
				retry = bus.Backoff{}
				continue
			}
			if ctx.Err() == nil {
				q.config.Trouble("event is not in the log yet", 0, err)
				later = time.After(retry.After(0))
			}
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-later:
		}
	}
}

func (q *events) state() (waiting int, draining bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.draining
}

// drain leaves the driver its events, and reports the events here until ctx ends.
func (q *events) drain(ctx context.Context) {
	q.mu.Lock()
	q.draining = true
	q.wakeReporter()
	q.mu.Unlock()
	var retry bus.Backoff
	for q.reportAll(ctx) != nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(retry.After(0)):
		}
	}
}

// end reports the events that came last, and warns of the events that the log refuses.
func (q *events) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLogTime)
	defer cancel()
	if err := q.reportAll(ctx); err != nil {
		n, _ := q.state()
		q.config.Trouble("events of the controller are lost", n, err)
	}
}

// reportAll reports all events, until one cannot be.
func (q *events) reportAll(ctx context.Context) error {
	for n, _ := q.state(); n > 0; n, _ = q.state() {
		if err := q.reportFirst(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reportFirst reports the oldest event, if there is one, and forgets it when it is in the log.
func (q *events) reportFirst(ctx context.Context) error {
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
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	if err := q.config.Report(ctx, e); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = q.waiting[1:]
	return nil
}
