package dbusapi

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

const (
	// maxSubscribers is how many connections may subscribe to events. A program has at most half
	// of them, and so has a user other than root.
	maxSubscribers = 64
	// maxKeptEvents is how many events wait for a subscriber or for room in the queue of signals.
	maxKeptEvents = 25
)

// events is the subscribers, and the events that no subscriber was sent yet.
type events struct {
	mu          sync.Mutex
	shares      *bus.Shares // of subscribers
	subscribers []*client
	kept        []ipmi.Event
}

// PlatformEvent sends an event to the subscribers, in the order of the calls, and does not block.
// While there is no subscriber, or no room in the queue of signals, it keeps up to 25 events, and
// counts and drops further ones. It sends kept events to the connections that are subscribers at
// that time.
func (s *Server) PlatformEvent(e ipmi.Event) {
	s.events.mu.Lock()
	s.events.kept = append(s.events.kept, e)
	s.events.mu.Unlock()
	s.sendEvents()
}

// sendEvents sends the events that can be sent. The lock, which keeps their order, is not held
// over the write.
func (s *Server) sendEvents() {
	s.events.mu.Lock()
	flush := s.queueKeptEvents()
	for len(s.events.kept) > maxKeptEvents {
		s.events.kept = s.events.kept[:len(s.events.kept)-1]
		s.counters.Count(eventsNotKept)
	}
	s.events.mu.Unlock()
	if flush {
		s.conn.Flush()
	}
}

// queueKeptEvents queues kept events, the oldest first; the caller holds events.mu. It queues
// either all signals of an event or none.
func (s *Server) queueKeptEvents() (flush bool) {
	for len(s.events.kept) > 0 && len(s.events.subscribers) > 0 && s.signals.enter() {
		var signals []byte
		for _, to := range s.events.subscribers {
			signals = append(signals, s.eventSignal(to.name, s.events.kept[0])...)
		}
		flush = s.conn.Queue(signals, &s.signals) || flush
		s.events.kept = slices.Delete(s.events.kept, 0, 1)
	}
	return flush
}

// eventSignal is PlatformEvent for one subscriber.
func (s *Server) eventSignal(name string, e ipmi.Event) []byte {
	b := beginSignal(s.conn, name, BasePath, platformEvent, "ysqay", 20+len(e.Interface)+len(e.Message))
	b = append(b, byte(e.Channel))
	b = dbuswire.AppendString(b, e.Interface)
	b = dbuswire.AppendUint16(b, e.Generator)
	return dbuswire.Finish(dbuswire.AppendBytes(b, e.Message[:]))
}

func subscribe(ctx context.Context, c *call) ([]any, error) {
	c.server.clients.awaitIdentity(ctx, c.client)
	if err := c.server.events.subscribe(ctx, c.client); err != nil {
		return nil, err
	}
	c.server.sendEvents()
	return nil, nil
}

func (e *events) subscribe(ctx context.Context, one *client) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case ctx.Err() != nil: // A client that leaves after this is found among the subscribers.
		return errGone
	case slices.Contains(e.subscribers, one):
		return nil
	case e.shares.Enter(&one.Client, 1) != bus.Admitted:
		return fmt.Errorf("%w subscribers: at most %d, half of them of one program", errTooMany, maxSubscribers)
	}
	e.subscribers = append(e.subscribers, one)
	return nil
}

func unsubscribe(_ context.Context, c *call) ([]any, error) {
	c.server.events.unsubscribe(c.sender)
	return nil, nil
}

func (e *events) unsubscribe(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscribers = slices.DeleteFunc(e.subscribers, func(one *client) bool {
		if one.name != name {
			return false
		}
		e.shares.Leave(&one.Client, 1)
		return true
	})
}
