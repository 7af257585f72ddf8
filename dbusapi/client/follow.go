package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Events subscribes to platform events and calls show for each, in the order of ipmbd, until ctx
// ends (nil), show returns an error, or the message bus is lost (ErrDisconnected). The Host of an
// event is not known. Up to 25 events that no program has received yet come first; no other
// subscriber receives these.
//
// When ipmbd leaves the message bus, Events waits until an ipmbd is there and subscribes again. It
// calls tell with ServiceStarted after each subscription, the first included, with ServiceStopped,
// and with MessagesLost when events came faster than they were shown.
func (c *Client) Events(ctx context.Context, show func(ipmi.Event) error, tell func(Notice)) error {
	f := newFollower(show, tell)
	f.register = func(service string) error { return f.callRouter(ctx, service, "Subscribe") }
	return f.followService(ctx, c)
}

// maxEvents platform events wait to be shown. When there are more, the newest are lost.
const maxEvents = 1024

// follower keeps a program registered with ipmbd, on a connection of its own. When another ipmbd
// replaces the one that it knows, it registers there.
type follower struct {
	show     func(ipmi.Event) error
	tell     func(Notice)
	register func(service string) error                   // with the ipmbd of a unique name
	call     func(*dbuswire.Conn, *dbuswire.Message) bool // gets method calls; may be nil
	leave    func()                                       // before the connection is closed; may be nil

	conn    *dbuswire.Conn
	present bool // the ipmbd with which we are registered has its name, according to the last notice

	// events wait to be shown. A nil wakes the follower after a change of owner.
	events chan *ipmi.Event
	lost   atomic.Int64

	changed atomic.Bool            // another connection may have ipmbd's name now
	service atomic.Pointer[string] // unique name of the ipmbd with which we are registered
}

func newFollower(show func(ipmi.Event) error, tell func(Notice)) *follower {
	f := &follower{show: show, tell: tell, events: make(chan *ipmi.Event, maxEvents)}
	f.changed.Store(true)
	f.service.Store(new(string))
	return f
}

// followService follows ipmbd until ctx ends.
func (f *follower) followService(ctx context.Context, c *Client) error {
	conn, err := connect(ctx, dbuswire.Config{Address: c.address, Call: f.call, Signal: f.receiveSignal})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer conn.Close()
	f.conn = conn
	if err := addMatch(ctx, conn, ownerRule); err != nil {
		return unlessEnded(ctx, err)
	}
	// A call to the name starts ipmbd, and shows whether the service is ipmbd.
	if _, err := c.handlerRows(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if f.leave != nil {
		defer f.leave()
	}
	for {
		if len(f.events) == 0 && f.changed.Swap(false) { // Events that came before the change are shown.
			if err := f.followOwner(ctx); err != nil {
				return unlessEnded(ctx, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-conn.Done():
			for err == nil && len(f.events) > 0 {
				err = f.showEvent(<-f.events)
			}
			return errors.Join(err, ErrDisconnected)
		case e := <-f.events:
			if err := f.showEvent(e); err != nil {
				return err
			}
		}
	}
}

// receiveSignal gets each signal of the connection. It does not block.
func (f *follower) receiveSignal(s *dbus.Signal) {
	var event *ipmi.Event
	if s.Sender == dbuswire.BusName && s.Name == dbuswire.BusInterface+".NameOwnerChanged" {
		f.changed.Store(true)
	} else if e, ok := parseEvent(s); ok && f.isService(s.Sender) {
		event = &e
	} else {
		return
	}
	select {
	case f.events <- event:
	default: // The queue is full, so the follower wakes without a nil.
		if event != nil {
			f.lost.Add(1)
		}
	}
}

// parseEvent reads PlatformEvent.
func parseEvent(s *dbus.Signal) (e ipmi.Event, ok bool) {
	var channel uint8
	var message []byte
	err := dbus.Store(s.Body, &channel, &e.Interface, &e.Generator, &message)
	if err != nil || s.Name != xml.RouterInterface+".PlatformEvent" || len(message) != len(e.Message) {
		return ipmi.Event{}, false
	}
	e.Channel = ipmi.Channel(channel)
	copy(e.Message[:], message)
	return e, true
}

// showEvent shows an event, and reports lost events before it.
func (f *follower) showEvent(e *ipmi.Event) error {
	if n := f.lost.Swap(0); n > 0 {
		f.tell(Notice{Time: time.Now(), Kind: MessagesLost, Lost: int(n)})
	}
	if e == nil {
		return nil
	}
	return f.show(*e)
}

// isService reports whether a unique name belongs to the ipmbd with which we are registered. That
// ipmbd may call or send signals before the call that registers has returned.
func (f *follower) isService(name string) bool { return name != "" && name == *f.service.Load() }

// followOwner registers with the ipmbd that has the name now.
func (f *follower) followOwner(ctx context.Context) error {
	var owner string
	err := askBus(ctx, func(ctx context.Context) (err error) {
		owner, err = f.conn.OwnerOf(ctx, xml.ServiceName)
		return err
	})
	if err = serviceError(err); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return f.keepRegistered(owner)
}

// keepRegistered registers with an owner of ipmbd's name, unless it has done that before. An ipmbd
// that has lost its name and got it back still knows us.
func (f *follower) keepRegistered(owner string) error {
	known := owner == *f.service.Load()
	if f.present && !known {
		f.present = false
		f.tell(Notice{Time: time.Now(), Kind: ServiceStopped})
	}
	if f.present || owner == "" {
		return nil
	}
	if !known {
		f.service.Store(&owner)
		if err := f.register(owner); err != nil {
			f.service.Store(new(string))
			if errors.Is(err, ErrNotRunning) || errors.Is(err, ErrLeft) || errors.Is(err, ErrUnavailable) {
				return nil // It is stopping. A signal will announce the next one.
			}
			return err
		}
	}
	f.present = true
	f.tell(Notice{Time: time.Now(), Kind: ServiceStarted, Program: owner})
	return nil
}

// callRouter calls a method of the router of the ipmbd of a unique name.
func (f *follower) callRouter(ctx context.Context, service, member string, args ...any) error {
	var seen atomic.Bool
	seen.Store(true) // A unique name is that of a program which runs, or has ended.
	_, err := ask(ctx, f.conn, &seen, dbuswire.Method{
		Destination: service, Path: xml.BasePath, Interface: xml.RouterInterface, Member: member}, args...)
	return serviceError(err)
}

// addMatch is Conn.AddMatch with the errors of this package.
func addMatch(ctx context.Context, conn *dbuswire.Conn, rule string) error {
	return serviceError(askBus(ctx, func(ctx context.Context) error { return conn.AddMatch(ctx, rule) }))
}

// unlessEnded returns an error, or nil if ctx has ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
