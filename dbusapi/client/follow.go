package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// follower keeps something registered with ipmbd, on a connection of its own:
// when another ipmbd has come in its place, it is registered there.
type follower struct {
	conn    *dbuswire.Conn
	tell    func(Event)
	changed chan struct{} // wakes the follower: owner has changed
	present bool          // service has the service's name, as far as tell was told

	mu      sync.Mutex
	heard   bool   // a change of owner was heard of
	owner   string // unique name of the program with the service's name; "" for none
	service string // unique name of the ipmbd that we are registered with
}

// newFollower makes a follower that tells of ServiceStarted, when something has
// been registered, and of ServiceStopped.
func newFollower(tell func(Event)) *follower {
	return &follower{tell: tell, changed: make(chan struct{}, 1)}
}

// connect connects and finds ipmbd, which is started where that is possible.
// hear gets the signals of the one we are registered with; take is shown method calls.
func (f *follower) connect(ctx context.Context, c *Client, take func(*dbuswire.Conn, *dbuswire.Message) bool, hear func(*dbus.Signal)) error {
	conn, err := dialClient(ctx, dbuswire.Config{Address: c.address, Call: take, Signal: func(s *dbus.Signal) {
		if !f.hearOwner(s) && f.isService(s.Sender) {
			hear(s)
		}
	}})
	if err != nil {
		return err
	}
	f.conn = conn
	if err := f.find(ctx, c); err != nil {
		_ = conn.Close()
		return err
	}
	return nil
}

// find learns the unique name of ipmbd.
func (f *follower) find(ctx context.Context, c *Client) error {
	if err := f.conn.AddMatch(ctx, ownerRule); err != nil {
		return clientError(err)
	}
	// A call by the service's name starts it, and shows whether it is ipmbd.
	if _, err := c.handlerRows(ctx); err != nil {
		return err
	}
	owner, err := f.conn.OwnerOf(ctx, xml.ServiceName)
	if err != nil {
		return clientError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.heard { // What was heard is as new as this, or newer.
		f.owner = owner
	}
	return nil
}

// hearOwner takes a signal that tells which program has ipmbd's name.
func (f *follower) hearOwner(s *dbus.Signal) bool {
	var name, before, after string
	if s.Sender != dbuswire.BusName || s.Name != dbuswire.BusInterface+".NameOwnerChanged" || dbus.Store(s.Body, &name, &before, &after) != nil {
		return false
	}
	f.mu.Lock()
	f.heard, f.owner = true, after
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default: // It has yet to be seen that there was a change.
	}
	return true
}

// registered is the unique name of the ipmbd that we are registered with, "" before that.
func (f *follower) registered() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.service
}

// isService reports whether a unique name is that of the ipmbd we are
// registered with, which may speak before the call that registers has returned.
func (f *follower) isService(name string) bool { return name != "" && name == f.registered() }

// keep registers with the ipmbd there is now, unless that has been done. An
// ipmbd that has lost its name and got it back still knows us.
func (f *follower) keep(register func(service string) error) error {
	f.mu.Lock()
	owner, known := f.owner, f.owner == f.service
	if owner != "" {
		f.service = owner
	}
	f.mu.Unlock()
	if f.present && !known {
		f.present = false
		f.tell(Event{Time: time.Now(), Kind: ServiceStopped})
	}
	if f.present || owner == "" {
		return nil
	}
	if !known {
		if err := register(owner); err != nil {
			f.forget()
			return unlessStopped(err)
		}
	}
	f.present = true
	f.tell(Event{Time: time.Now(), Kind: ServiceStarted, Program: owner})
	return nil
}

// forget: the registration has failed.
func (f *follower) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.service = ""
}

// unlessStopped is an error of a registration, or nil if the reason is that ipmbd stops:
// the follower hears of the next one.
func unlessStopped(err error) error {
	for _, stopped := range [...]error{ErrNotRunning, ErrLeft, ErrUnavailable} {
		if errors.Is(err, stopped) {
			return nil
		}
	}
	return err
}

// callRouter calls a method of the router of one ipmbd.
func (f *follower) callRouter(ctx context.Context, service, member string, args ...any) error {
	_, err := f.conn.Call(ctx, dbuswire.Method{Destination: service, Path: xml.BasePath, Interface: xml.RouterInterface, Member: member}, args...)
	return clientError(err)
}

// unlessEnded is why following ended, nil when ctx did.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
