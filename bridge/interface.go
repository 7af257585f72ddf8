package bridge

import (
	"time"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// InterfaceConfig describes an interface.
type InterfaceConfig struct {
	Name     string
	Channel  ipmi.Channel
	Host     int
	Medium   Medium
	Protocol Protocol
	// Bridged: the bridge serves its commands on the interface.
	Bridged bool
	// MaxData returns how many bytes of data a response on the interface may have, 0 for any
	// number. It may be nil if the interface has a bus, whose limit counts then.
	MaxData func() int
	// Attention is called when the attention has changed, in order. It must not block and may be
	// nil.
	Attention func(ipmi.Attention)
	// ClearPreTimeout is called when the host has seen the pre-timeout of its watchdog; it may be
	// nil.
	ClearPreTimeout func()
}

// Interface is a bus or a system interface as the bridge knows it.
type Interface struct {
	bridge *Bridge
	config InterfaceConfig
	bus    *bus.Bus // nil for a system interface
	counts counters.Set[counter]

	// Guarded by the bridge's mutex.
	queue      queue
	events     []record // of the event message buffer, the oldest first
	enables    enables
	disabled   ipmi.ChannelMask // channels whose SMS messages are refused
	preTimeout bool             // of the watchdog
	shown      ipmi.Attention
	machine    uint // counts the machines that are gone
}

// NewInterface makes an interface before its bus exists, because the bus needs the interface's
// handler. Add makes it one of the bridge's.
func (b *Bridge) NewInterface(config InterfaceConfig) *Interface {
	if config.Attention == nil {
		config.Attention = func(ipmi.Attention) {}
	}
	if config.ClearPreTimeout == nil {
		config.ClearPreTimeout = func() {}
	}
	return &Interface{bridge: b, config: config, enables: enableLogging, counts: counters.New[counter](counterNames)}
}

// HostReset ends what the system interfaces of a host keep for its software, after a reset or loss
// of power of the host: messages, events, responses still to come, and the settings that the
// software made (IPMI v2.0, sections 22.1 and 22.5). The watchdog ends its pre-timeout itself.
func (b *Bridge) HostReset(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, i := range b.interfaces {
		if i.bus == nil && i.config.Host == host {
			i.reset()
		}
	}
	b.wake()
}

// ColdReset ends what all interfaces of a host keep, buses included, and its event receiver.
func (b *Bridge) ColdReset(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.receivers, host)
	for _, i := range b.interfaces {
		if i.config.Host == host {
			i.reset()
		}
	}
	b.wake()
}

// reset ends what the interface keeps for software. The caller holds the bridge's mutex.
func (i *Interface) reset() {
	i.counts.Add(messagesCleared, len(i.queue.messages))
	i.queue.messages, i.events = nil, nil
	i.enables, i.disabled = enableLogging, 0
	i.machine++
}

// Handler returns a handler that serves the bridge's commands and the SMS messages of the
// interface, and leaves all other requests to next.
func (i *Interface) Handler(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		switch {
		case i.config.Bridged && req.LUN == ipmi.SMSLUN && req.Requester != 0:
			reply.Answer(i.queueRequest(req))
		case i.config.Bridged && req.LUN == 0 && i.serveCommand(req, reply):
		case req.NetFn == ipmi.NetFnSensor && req.Command == ipmi.CommandPlatformEvent:
			i.offerEvent(req, next, reply)
		default:
			next.ServeIPMI(req, reply)
		}
	})
}

// BridgeTimeout returns how long a request from a bridged bus may take, for [ipmb.Config]: a Send
// Message may take as long as the retries on the bus that it is sent on to, and the wait for a
// sequence number there. It returns 0 for any other request.
func (i *Interface) BridgeTimeout(f ipmb.Frame) time.Duration {
	if f.DestinationLUN != 0 || f.NetFn != ipmi.NetFnApp || f.Command != commandSendMessage || len(f.Data) == 0 {
		return 0
	}
	to := i.bridge.busOf(i, channelOf(f.Data[0]))
	if to == nil {
		return 0
	}
	const margin = time.Second
	return 2*to.bus.RetryPolicy().Or(ipmb.RetryPolicy{}).Duration() + margin
}

// fits reports whether a response with this many bytes of data fits the interface.
func (i *Interface) fits(length int) bool {
	most := 0
	switch {
	case i.config.MaxData != nil:
		most = i.config.MaxData()
	case i.bus != nil:
		most = i.bus.MaxFrame() - ipmb.MinResponse
	}
	return most == 0 || length <= most
}

// counter names a counter of an interface.
type counter int

const (
	bridgedTracked counter = iota
	bridgedUntracked
	bridgedUnanswered
	messagesQueued
	messagesFetched
	messagesCleared
	messagesExpired
	messagesRefused
	eventsTaken
	eventsFailed
	eventsNotBuffered
	eventsOff
)

var counterNames = []string{
	bridgedTracked:    "bridged-tracked",
	bridgedUntracked:  "bridged-untracked",
	bridgedUnanswered: "bridged-unanswered",
	messagesQueued:    "messages-queued",
	messagesFetched:   "messages-fetched",
	messagesCleared:   "messages-cleared",
	messagesExpired:   "messages-expired",
	messagesRefused:   "messages-refused",
	eventsTaken:       "events-taken",
	eventsFailed:      "events-failed",
	eventsNotBuffered: "events-not-buffered",
	eventsOff:         "events-turned-off",
}

// Statistics returns a snapshot of the interface's counters by name. They start at 0 and only
// grow.
func (i *Interface) Statistics() map[string]uint64 { return i.counts.Statistics() }
