package dbusapi

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// platformEvent is a signal of the router.
const platformEvent = xml.RouterInterface + ".PlatformEvent"

const (
	// maxSubscribers is how many connections hear of events. A program has at most half of
	// them, and so has a user other than root.
	maxSubscribers = 64
	// maxKeptEvents is how many events wait for a subscriber or for room in the queue of signals.
	maxKeptEvents = 25
)

// events is the subscribers, and the events that no subscriber was sent yet.
type events struct {
	mu          sync.Mutex
	shares      *bus.Shares // of subscribers
	subscribers []subscriber
	kept        []ipmi.Event
}

// subscriber is a connection that hears of events.
type subscriber struct {
	name   string // unique
	client *bus.Client
}

// PlatformEvent tells the subscribers of an event, in the order of the calls, and does not block.
// While there is no subscriber, or no room in the queue of signals, up to 25 events are kept.
// Further ones are counted and dropped. Kept events go to those that are subscribers when they can
// be sent.
func (s *Server) PlatformEvent(e ipmi.Event) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.kept = append(s.events.kept, e)
	s.sendKeptLocked()
	if len(s.events.kept) > maxKeptEvents {
		s.events.kept = s.events.kept[:maxKeptEvents]
		s.counters.Count(eventsNotKept)
	}
}

// sendKeptEvents sends the events that have waited for room in the queue of signals.
func (s *Server) sendKeptEvents() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.sendKeptLocked()
}

// sendKeptLocked queues kept events, the oldest first; events.mu is held. All signals
// of an event are queued together, or none.
func (s *Server) sendKeptLocked() {
	for len(s.events.kept) > 0 && len(s.events.subscribers) > 0 {
		var signals []byte
		for _, to := range s.events.subscribers {
			signals = append(signals, s.eventSignal(to.name, s.events.kept[0])...)
		}
		if !s.queueSignals(signals) {
			return
		}
		s.events.kept = slices.Delete(s.events.kept, 0, 1)
	}
}

// eventSignal is PlatformEvent for one subscriber.
func (s *Server) eventSignal(name string, e ipmi.Event) []byte {
	b := beginSignal(s.conn, name, BasePath, platformEvent, "ysqay", 20+len(e.Interface)+len(e.Message))
	b = append(b, byte(e.Channel))
	b = dbuswire.AppendString(b, e.Interface)
	b = dbuswire.AppendUint16(b, e.Generator)
	return dbuswire.Finish(dbuswire.AppendBytes(b, e.Message[:]))
}

// subscribe serves Subscribe of the router.
func subscribe(ctx context.Context, c *call) ([]any, error) {
	s := c.server
	s.clients.awaitIdentity(ctx, c.client)
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	client := &c.client.Client
	switch {
	case ctx.Err() != nil: // A client that leaves after this is found among the subscribers.
		return nil, errGone
	case slices.ContainsFunc(s.events.subscribers, func(o subscriber) bool { return o.name == c.sender }):
		return nil, nil
	case s.events.shares.Enter(client, 1) != bus.Admitted:
		return nil, fmt.Errorf("%w subscribers: at most %d, half of them of one program", errTooMany, maxSubscribers)
	}
	s.events.subscribers = append(s.events.subscribers, subscriber{c.sender, client})
	s.sendKeptLocked()
	return nil, nil
}

// unsubscribe serves Unsubscribe of the router.
func unsubscribe(_ context.Context, c *call) ([]any, error) {
	c.server.events.unsubscribe(c.sender)
	return nil, nil
}

func (e *events) unsubscribe(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscribers = slices.DeleteFunc(e.subscribers, func(s subscriber) bool {
		if s.name != name {
			return false
		}
		e.shares.Leave(s.client, 1)
		return true
	})
}
