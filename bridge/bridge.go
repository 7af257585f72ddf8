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
	// Log keeps events; nil stands for no log.
	Log Log
	// Now is the log's clock, which gives the events in the event message buffers their time; nil
	// stands for time.Now. It must not block.
	Now func() time.Time
	// Publish is called with each event that was acknowledged. It must not block and may be nil.
	Publish func(ipmi.Event)
	// Rearm is called when a host has set its event receiver: sensors report the conditions that
	// hold once more (IPMI v2.0, section 29.1). It must not block and may be nil.
	Rearm func()
	// Blocking serves the events that wait for the log, in order with the other requests that it
	// serves for their interface. These must not call ReceiveEvent. Its owner closes it, after
	// Run. It may be nil if there are no events.
	Blocking *ipmi.Blocking
}

// Log is a system event log.
type Log interface {
	// Add returns when the log has the event. It returns errors like a handler's, see ipmi.CodeOf.
	Add(ctx context.Context, e ipmi.Event) error
}

// Bridge carries messages between its interfaces. Its methods may be called from several
// goroutines at once.
//
// One mutex guards the state of all interfaces. It is not held while a bus sends, nor while the
// log or a function of a Config is called, except InterfaceConfig.MaxData.
type Bridge struct {
	config  Config
	changed chan struct{} // wakes Run
	tracked sync.Pool     // of *call, for tracked messages

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
	if config.Rearm == nil {
		config.Rearm = func() {}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Bridge{
		config:    config,
		changed:   make(chan struct{}, 1),
		tracked:   sync.Pool{New: func() any { return newCall() }},
		receivers: make(map[int]eventReceiver),
	}
}

// Add makes an interface one that messages come from. With a bus, messages can also be sent there;
// a system interface has no bus.
func (b *Bridge) Add(i *Interface, bus *bus.Bus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.bus = bus
	b.interfaces = append(b.interfaces, i)
}

// Remove takes the interface out of the bridge. The messages in the interface's queue are lost. So
// are requests from the interface that wait for host software in other queues. With the last
// interface of a host, the bridge also forgets the event receiver that the host has set.
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

// Run cancels calls at their deadlines and tells interfaces of their attention until ctx ends. It
// is called once; Send Message is refused while it does not run. When ctx ends, it cancels the
// requests that are on the buses and waits until they have ended.
func (b *Bridge) Run(ctx context.Context) {
	b.mu.Lock()
	b.running = true
	b.mu.Unlock()
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(b.update())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-b.changed:
		}
	}
	b.mu.Lock()
	b.running = false
	calls := slices.Clone(b.calls)
	for _, c := range calls {
		c.cause = ipmb.ErrClosed
	}
	b.mu.Unlock()
	cancelCalls(calls)
	b.ending.Wait()
}

// wake makes Run look at the interfaces.
func (b *Bridge) wake() {
	select {
	case b.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// update drops expired messages, cancels the calls whose deadline has passed, and tells the
// interfaces whose attention has changed. It returns when there is something to do next.
func (b *Bridge) update() time.Duration {
	now := time.Now()
	b.mu.Lock()
	overdue, next := b.overdueCalls(now)
	var changed []func()
	for _, i := range b.interfaces {
		i.dropExpired()
		next = min(next, i.queue.untilExpiration(now))
		if attention := i.attention(); attention != i.shown {
			i.shown = attention
			changed = append(changed, func() { i.config.Attention(attention) })
		}
	}
	b.sleepsUntil = now.Add(next)
	b.mu.Unlock()
	cancelCalls(overdue)
	for _, tell := range changed {
		tell()
	}
	return next
}

// busOf returns the interface of a channel that is a bus, nil if there is none.
func (b *Bridge) busOf(from *Interface, channel ipmi.Channel) *Interface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.interfaceOf(from, channel); i != nil && i.bus != nil {
		return i
	}
	return nil
}

// interfaceOf returns the interface of a channel, nil if there is none. Of several with the number
// it returns one of the same host, if there is one.
func (b *Bridge) interfaceOf(from *Interface, channel ipmi.Channel) *Interface {
	if channel == ipmi.ChannelCurrent || channel == from.config.Channel {
		return from
	}
	var found *Interface
	for _, i := range b.interfaces {
		isBetter := found == nil || i.config.Host == from.config.Host && found.config.Host != from.config.Host
		if i.config.Channel == channel && isBetter {
			found = i
		}
	}
	return found
}

// holderOf returns the interface whose queue holds the SMS messages of another: the system
// interface of the host, or the interface itself if the host has none.
func (b *Bridge) holderOf(i *Interface) *Interface {
	for _, other := range b.interfaces {
		if other.bus == nil && other.config.Bridged && other.config.Host == i.config.Host {
			return other
		}
	}
	return i
}
