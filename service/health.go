package service

import (
	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/i2c"
)

// health is the state of a bus and why it is so.
type health struct {
	state  dbusapi.State
	reason string
}

// log logs that a bus has come to this.
func (h health) log(to *zap.Logger) {
	log := to.Info
	if h.state != dbusapi.Up {
		log = to.Warn
	}
	log("bus state", zap.String("state", string(h.state)), zap.String("reason", h.reason))
}

// condition is what is known of a bus. Each part is a reason, "" when there is
// none. Its state is that of the worst: a bus that is closed or stalled carries
// nothing, and writes that fail say more than the transport's own warning,
// which holds as long as it is open.
type condition struct {
	closed  string // it is not open
	stalled string // a write does not come back from the kernel
	stuck   string // writes fail
	warning string // of the transport

	// over: the transport will carry no more, so that what its writes do says
	// nothing of the bus.
	over bool
}

func (c condition) health() health {
	switch {
	case c.closed != "":
		return health{dbusapi.Down, c.closed}
	case c.stalled != "":
		return health{dbusapi.Down, c.stalled}
	case c.stuck != "":
		return health{dbusapi.Degraded, c.stuck}
	case c.warning != "":
		return health{dbusapi.Degraded, c.warning}
	}
	return health{state: dbusapi.Up}
}

// update changes the condition, and tells if that changes the state.
func (b *engineBus) update(change func(*condition)) {
	b.mu.Lock()
	before := b.condition.health()
	change(&b.condition)
	now := b.condition.health()
	b.mu.Unlock()
	if now == before {
		return
	}
	now.log(b.log)
	b.observer.Changed()
}

func (b *engineBus) setClosed(reason string) {
	b.update(func(c *condition) { *c = condition{closed: reason} })
}

// setOpen ends what was known of the transport before.
func (b *engineBus) setOpen() {
	b.update(func(c *condition) {
		*c = condition{}
		if warner, ok := b.transport.(i2c.Warner); ok {
			c.warning = warner.Warning()
		}
	})
}

func (b *engineBus) setOver() { b.update(func(c *condition) { c.over = true }) }

func (b *engineBus) setStalled(reason string) {
	b.update(func(c *condition) {
		if !c.over {
			c.stalled = reason
		}
	})
}

func (b *engineBus) setStuck(reason string) {
	b.update(func(c *condition) {
		if !c.over {
			c.stuck = reason
		}
	})
}
