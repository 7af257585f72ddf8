package dbusapi

import (
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// listener is a client that receives events; it asks for no signals.
type listener struct {
	*fakeHost
	heard chan *dbus.Signal
}

func (r *rig) listener(t *testing.T) *listener {
	t.Helper()
	l := &listener{heard: make(chan *dbus.Signal, 10000)}
	l.fakeHost = &fakeHost{conn: dial(t, r.bus, dbuswire.Config{Signal: func(s *dbus.Signal) {
		if s.Name == platformEvent {
			l.heard <- s
		}
	}})}
	return l
}

func (r *rig) subscriber(t *testing.T) *listener {
	t.Helper()
	l := r.listener(t)
	l.subscribe(t)
	return l
}

func (l *listener) subscribe(t *testing.T) {
	t.Helper()
	if err := l.callRouter(t, "Subscribe"); err != nil {
		t.Fatal(err)
	}
}

// hears waits for the events of these numbers.
func (l *listener) hears(t *testing.T, numbers ...uint16) {
	t.Helper()
	for _, want := range numbers {
		if got := (<-l.heard).Body[2]; got != want {
			t.Fatalf("heard event %v, want %d", got, want)
		}
	}
}

// numberedEvent is an event whose generator ID tells it from others.
func numberedEvent(n uint16) ipmi.Event {
	return ipmi.Event{Interface: "bus4", Channel: 7, Generator: n, Message: [7]byte{4, 1, 0x30, 1, 0x57, 0x60, 0x5F}}
}

// happen makes events of these numbers happen.
func (r *rig) happen(numbers ...uint16) {
	for _, n := range numbers {
		r.server.PlatformEvent(numberedEvent(n))
	}
}

// upTo is the numbers from 0 to n-1.
func upTo(n uint16) []uint16 {
	numbers := make([]uint16, n)
	for i := range numbers {
		numbers[i] = uint16(i)
	}
	return numbers
}

func TestEventsGoToSubscribersOnly(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t) // the client has a match rule for all signals, and has not subscribed
	first, second := r.subscriber(t), r.subscriber(t)
	first.subscribe(t) // once more is nothing more
	r.happen(0x1234)
	for _, l := range []*listener{first, second} {
		got := <-l.heard
		if got.Sender != r.server.conn.Name() || got.Path != BasePath {
			t.Errorf("signal %+v", got)
		}
		if diff := cmp.Diff([]any{byte(7), "bus4", uint16(0x1234), []byte{4, 1, 0x30, 1, 0x57, 0x60, 0x5F}}, got.Body); diff != "" {
			t.Error(diff)
		}
	}
	// The client receives the next event first.
	r.fake.change(func(p *bus.Properties) { p.State = bus.Down })
	r.object.Changed()
	if got := <-r.heard; got.Name != propertiesChanged {
		t.Errorf("the client heard %+v", got)
	}
	r.happen(2)
	first.hears(t, 2)
	second.hears(t, 2)
}

func TestBacklogGoesToTheFirstSubscriber(t *testing.T) {
	r := newRig(t, Config{})
	r.happen(upTo(maxKeptEvents + 5)...)
	if n := r.server.Statistics()["events-not-kept"]; n != 5 {
		t.Errorf("%d events were not kept", n)
	}
	first := r.subscriber(t)
	second := r.subscriber(t)
	r.happen(100)
	first.hears(t, append(upTo(maxKeptEvents), 100)...)
	second.hears(t, 100)
}

func TestEventsWaitForRoomInTheQueue(t *testing.T) {
	r := newRig(t, Config{})
	l := r.subscriber(t)
	flush := r.stall(t)
	for range maxSignals {
		r.object.announce(r.server.ids.Add(1), fromME())
	}
	r.happen(upTo(maxKeptEvents + 5)...)
	if n := r.server.Statistics()["events-not-kept"]; n != 5 {
		t.Errorf("%d events were not kept", n)
	}
	flush()
	l.hears(t, upTo(maxKeptEvents)...)
	r.happen(100)
	l.hears(t, 100)
}

func TestManyEventsStayInOrder(t *testing.T) {
	r := newRig(t, Config{})
	l := r.subscriber(t)
	const many = 20000
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.happen(upTo(many)...)
	}()
	<-ended
	lost := r.server.Statistics()["events-not-kept"]
	last := -1
	for range many - int(lost) {
		n := int((<-l.heard).Body[2].(uint16))
		if n <= last {
			t.Fatalf("event %d after %d", n, last)
		}
		last = n
	}
}

func TestWhoNoLongerHearsOfEvents(t *testing.T) {
	r := newRig(t, Config{})
	stays, leaves, unsubscribes := r.subscriber(t), r.subscriber(t), r.subscriber(t)
	if err := unsubscribes.callRouter(t, "Unsubscribe"); err != nil {
		t.Fatal(err)
	}
	if err := unsubscribes.callRouter(t, "Unsubscribe"); err != nil {
		t.Errorf("unsubscribed twice: %v", err)
	}
	r.leave(t, leaves.conn)
	r.roundTrip(t)
	if got := r.server.events.names(); !slices.Equal(got, []string{stays.conn.Name()}) {
		t.Errorf("subscribers are %v", got)
	}
	r.happen(1)
	stays.hears(t, 1)

	// With the last one gone, events are kept again.
	r.leave(t, stays.conn)
	r.roundTrip(t)
	r.happen(2, 3)
	unsubscribes.subscribe(t)
	unsubscribes.hears(t, 2, 3)
}

// names is the subscribers.
func (e *events) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, s := range e.subscribers {
		names = append(names, s.name)
	}
	return names
}

func TestLimitOfSubscribers(t *testing.T) {
	r := newRig(t, Config{})
	var last *listener
	for range maxSubscribers {
		last = r.subscriber(t)
	}
	more := r.listener(t)
	if err := more.callRouter(t, "Subscribe"); errorName(err) != xml.ErrorTooMany {
		t.Errorf("over the limit: %v", err)
	}
	last.subscribe(t) // a client that has a place keeps it
	r.leave(t, last.conn)
	more.subscribe(t)
	r.happen(1)
	more.hears(t, 1)
}
