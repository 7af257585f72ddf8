package service

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/bridge"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

const (
	// drainTime is how long calls in progress may take to end.
	drainTime = 2 * time.Second
	// endTime is how long a device may take to be closed, and the message bus to take
	// a name back.
	endTime = 2 * time.Second
	// beginTime is how long a member may take until it serves.
	beginTime = 10 * time.Second
)

// member is a bus or a host interface in the service. It is made, with its device
// open where that can be seen before it is read, and on D-Bus; then it runs; then it
// leaves D-Bus, is drained, ends, and is forgotten. Starting, stopping and changing
// the service are these steps for some or for all members.
type member struct {
	part
	config memberConfig // of which it was made
	stop   context.CancelFunc
	ended  chan struct{} // closed when Run has returned
}

// part is what differs between members. It has its place in the bridge, the mux and
// the service on D-Bus when it is made.
type part interface {
	// Run, Begun, Pulse and Drain are as in Bus. Run whose context has ended closes
	// what making has opened.
	Run(ctx context.Context)
	Begun() <-chan struct{}
	Pulse(ctx context.Context)
	Drain(ctx context.Context)
	// path is that of its object.
	path() dbus.ObjectPath
	// bridgeInterface is it as the bridge knows it.
	bridgeInterface() *bridge.Interface
	// obey makes the policy of a configuration hold from now on.
	obey(c config.Config)
	// withdraw takes its object away: no more calls come.
	withdraw()
	// free makes it unknown to those who call it by index.
	free()
	// forget gives back all that making has taken, when Run has returned. The message
	// bus is waited for until ctx ends.
	forget(ctx context.Context)
}

// memberConfig is an entry of the configuration, with its defaults.
type memberConfig interface {
	// name is the one in the configuration.
	name() string
	channel() ipmi.Channel
	bridged() bool
	// entry is it in the configuration.
	entry() config.Entry
	// busNames are the last words of the bus names that it needs, and whether it
	// needs btbridge's.
	busNames() (words []string, hostIPMI bool)
	// make makes the part. After an error nothing of it is left.
	make(ctx context.Context, s *service) (part, error)
}

// begin runs the member.
func (s *service) begin(ctx context.Context, m *member) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	s.lives.Go(func() {
		defer close(m.ended)
		m.Run(running)
	})
}

// awaitBegun waits until the member takes calls or is known to be Down: who is told
// that it is there may call at once.
func (m *member) awaitBegun(ctx context.Context) {
	select {
	case <-m.Begun():
	case <-ctx.Done():
	}
}

// end stops the member and reports whether it has ended before ctx.
func (m *member) end(ctx context.Context) bool {
	if m.stop == nil {
		never, stop := context.WithCancel(ctx)
		stop()
		m.Run(never)
		return true
	}
	m.stop()
	select {
	case <-m.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// add makes members and runs them: all, or none and an error. Their devices are
// open, but not read, and their objects are there before their names are taken.
func (s *service) add(ctx context.Context, configs ...memberConfig) error {
	var added []*member
	for _, c := range configs {
		p, err := c.make(ctx, s)
		if err != nil {
			s.undo(ctx, added)
			return &memberError{c.entry().Title(), err}
		}
		m := &member{part: p, config: c, ended: make(chan struct{})}
		s.members.add(m)
		added = append(added, m)
	}
	if err := s.server.TakeNames(ctx); err != nil {
		s.undo(ctx, added)
		return err
	}
	for _, m := range added {
		s.begin(ctx, m)
	}
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	for _, m := range added {
		m.awaitBegun(ctx)
	}
	return nil
}

// undo ends members that have not begun.
func (s *service) undo(ctx context.Context, added []*member) {
	s.remove(ctx, added...)
	free(added)
}

// free makes members that are gone unknown.
func free(gone []*member) {
	for _, m := range gone {
		m.free()
	}
}

// remove ends members, of which callers by index know until they are freed. Calls and
// requests in progress have drainTime for that, or until ctx ends.
func (s *service) remove(ctx context.Context, gone ...*member) {
	if len(gone) == 0 {
		return
	}
	each(gone, func(m *member) {
		m.withdraw()
		if m.stop != nil {
			draining, cancel := context.WithTimeout(ctx, drainTime)
			m.Drain(draining)
			cancel()
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if !m.end(ending) {
			s.log.Warn("has not ended yet: a write is in the kernel", nameField(m.config))
		}
		m.forget(ending)
	})
	s.members.remove(gone...)
}

// memberError is an error of a member.
type memberError struct {
	title string
	err   error
}

// Error implements error.
func (e *memberError) Error() string { return e.title + ": " + e.err.Error() }

// Unwrap is the cause.
func (e *memberError) Unwrap() error { return e.err }
