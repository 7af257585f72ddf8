package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Config describes a bridge.
type Config struct {
	// Log keeps events; nil for nobody.
	Log Log
	// Now is the log's clock, which the event message buffer goes by; nil for ours. It
	// must not block.
	Now func() time.Time
	// Publish is told of each event that was acknowledged. It must not block;
	// nil for nobody.
	Publish func(ipmi.Event)
	// Blocking serves the events that wait for the log, in order with the other requests
	// of an interface that it serves; these must not call Take. Its owner closes it, after
	// Run. With nil the bridge makes its own.
	Blocking *ipmi.Blocking
}

// Log is a system event log.
type Log interface {
	// Add returns when the log has the event. Its errors are those of a handler.
	Add(ctx context.Context, e ipmi.Event) error
}

// Bridge carries messages between its interfaces. Its methods may be called from
// several goroutines at once.
//
// One mutex guards the state of all interfaces. It is never held while a bus sends, nor
// over the log or a function of a Config, but for what asks how long a message may be.
type Bridge struct {
	config  Config
	changed chan struct{}  // wakes Run
	events  *ipmi.Blocking // takes events one after the other to the log
	tracked sync.Pool      // of *call, for tracked messages

	endEvents bool // the bridge closes events

	mu          sync.Mutex
	interfaces  []*Interface
	receivers   map[int]eventReceiver // by host, where one was set
	running     bool                  // Run does
	calls       []*call               // that a bus has
	sleepsUntil time.Time
	ending      sync.WaitGroup // of calls; added to while running
}

// New makes a bridge without interfaces.
func New(config Config) *Bridge {
	if config.Publish == nil {
		config.Publish = func(ipmi.Event) {}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	events, isOurs := config.Blocking, config.Blocking == nil
	if isOurs {
		events = ipmi.NewBlocking(nil)
	}
	return &Bridge{
		config:    config,
		changed:   make(chan struct{}, 1),
		events:    events,
		endEvents: isOurs,
		tracked:   sync.Pool{New: func() any { return newCall() }},
		receivers: make(map[int]eventReceiver),
	}
}

// Add makes an interface one that messages come from and, with a bus, go to. A
// system interface has none.
func (b *Bridge) Add(i *Interface, bus *bus.Bus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.bus = bus
	b.interfaces = append(b.interfaces, i)
}

// Remove ends what Add began. The messages in the interface's queue are lost, and so are
// requests from it that wait in other queues to be answered. With the last interface of a
// host, what that host has set is lost, too.
func (b *Bridge) Remove(i *Interface) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.interfaces = slices.DeleteFunc(b.interfaces, func(other *Interface) bool { return other == i })
	ofHost := func(other *Interface) bool { return other.config.Host == i.config.Host }
	if !slices.ContainsFunc(b.interfaces, ofHost) {
		delete(b.receivers, i.config.Host)
	}
	for _, other := range b.interfaces {
		other.queue.drop(func(m message) bool { return m.from == i && !m.frame.NetFn.IsResponse() })
	}
	b.wake()
}

// Run carries responses and tells of attention until ctx ends. It is called once; Send
// Message is refused while it does not run. When ctx ends it cancels the requests that
// are on the buses and, if no Blocking was given, the events that wait for the log, and
// waits until they have ended.
func (b *Bridge) Run(ctx context.Context) {
	b.begin()
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(b.tell())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-b.changed:
		}
	}
	b.end()
}

func (b *Bridge) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = true
}

// end takes no more calls and events, and waits for those that there are.
func (b *Bridge) end() {
	b.mu.Lock()
	b.running = false
	cancel := b.cancel(slices.Clone(b.calls), ipmb.ErrClosed)
	b.mu.Unlock()
	cancel()
	b.ending.Wait()
	if b.endEvents {
		b.events.Close()
	}
}

// wake makes Run look at the interfaces.
func (b *Bridge) wake() {
	select {
	case b.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// tell tells the interfaces whose attention has changed, cancels the calls whose time is
// over, and returns when there is something to do next.
func (b *Bridge) tell() time.Duration {
	now := time.Now()
	b.mu.Lock()
	cancel := b.cancel(b.overdue(now), ipmi.ErrTooSlow)
	next := b.nextDeadline(now)
	var changed []func()
	for _, i := range b.interfaces {
		b.expire(i)
		next = min(next, i.queue.next(now))
		if attention := i.attention(); attention != i.told {
			i.told = attention
			changed = append(changed, func() { i.config.Attention(attention) })
		}
	}
	b.sleepsUntil = now.Add(next)
	b.mu.Unlock()
	cancel()
	for _, tell := range changed {
		tell()
	}
	return next
}

// target is the interface of a channel that is a bus: of several with its number,
// that of a host. Nil is an unknown channel.
func (b *Bridge) target(from *Interface, channel ipmi.Channel) *Interface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(from, channel); i != nil && i.bus != nil {
		return i
	}
	return nil
}

// find is the interface with a channel number, nil when there is none.
func (b *Bridge) find(from *Interface, channel ipmi.Channel) *Interface {
	if channel == ipmi.ChannelCurrent || channel == from.config.Channel {
		return from
	}
	var found *Interface
	for _, i := range b.interfaces {
		if i.config.Channel == channel && (found == nil || i.config.Host == from.config.Host && found.config.Host != from.config.Host) {
			found = i
		}
	}
	return found
}

// queueOf is the interface whose queue holds what came to LUN 2 of another: the
// host's system interface, or its own where there is none.
func (b *Bridge) queueOf(i *Interface) *Interface {
	for _, other := range b.interfaces {
		if other.bus == nil && other.config.Bridged && other.config.Host == i.config.Host {
			return other
		}
	}
	return i
}
