package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Bus is what the service runs for a channel.
type Bus interface {
	dbusapi.Bus
	// Open opens the transport, so that what is wrong with it shows before
	// anything is read. A failure is in the bus's state.
	Open()
	// Run serves the bus, and opens its transport again whenever it ends,
	// until ctx does.
	Run(ctx context.Context)
}

// engineBus is an engine on a transport.
type engineBus struct {
	config   ChannelConfig
	engine   *ipmb.Engine
	open     opener
	log      *zap.Logger
	observer busObserver // told of what happens; its methods do not block

	mu        sync.Mutex
	health    health
	transport i2c.Transport     // open, nil while the bus is Down
	over      bool              // it will carry no more; what its writes do says nothing
	kind      string            // of the transport opened last
	past      map[string]uint64 // counters of the transports that have ended
}

// opener opens a transport and says which kind it is, in the words of the
// configuration.
type opener func() (t i2c.Transport, kind string, err error)

// busObserver is told of what happens on a bus.
type busObserver interface {
	Received(f ipmb.Frame)
	// Changed says that Properties may have changed.
	Changed()
}

func newEngineBus(ch ChannelConfig, open opener, handler ipmi.Handler, observer busObserver, log *zap.Logger) *engineBus {
	b := &engineBus{
		config:   ch,
		open:     open,
		log:      log.With(zap.String("bus", ch.Name)),
		observer: observer,
		health:   health{state: dbusapi.Down, reason: "not opened yet"},
		kind:     ch.Transport.String(),
		past:     make(map[string]uint64),
	}
	b.engine = ipmb.New(ipmb.Config{
		Address:         ch.BMCAddress,
		Interface:       ch.Name,
		Channel:         *ch.IPMIChannel,
		Host:            ch.DevIndex,
		Policy:          ipmb.Policy{Tries: ch.Tries, Timeout: ch.Timeout},
		MaxFrame:        ch.MaxFrame,
		Handler:         handler,
		HandlerTimeout:  ch.HandlerTimeout,
		MaxHandlers:     ch.MaxHandlers,
		DuplicateWindow: ch.DuplicateWindow,
		Observer:        engineObserver{b},
	})
	return b
}

// engineObserver hears the engine for its bus.
type engineObserver struct{ bus *engineBus }

func (o engineObserver) Received(f ipmb.Frame) { o.bus.observer.Received(f) }

func (o engineObserver) Stalled(stalled bool) {
	if stalled {
		o.bus.setHealth(dbusapi.Down, "a write has been in the kernel for "+ipmb.StallTime.String())
	} else {
		o.bus.setHealth(dbusapi.Up, "")
	}
}

// health is the state of a bus and why it is so.
type health struct {
	state  dbusapi.State
	reason string
}

// setHealth changes the state. A bus whose transport is over stays Down.
func (b *engineBus) setHealth(state dbusapi.State, reason string) {
	now := health{state, reason}
	b.mu.Lock()
	ignored := now == b.health || b.over && state != dbusapi.Down
	if !ignored {
		b.health = now
	}
	b.mu.Unlock()
	if ignored {
		return
	}
	log := b.log.Info
	if state != dbusapi.Up {
		log = b.log.Warn
	}
	log("bus state", zap.String("state", string(state)), zap.String("reason", reason))
	b.observer.Changed()
}

// Open implements Bus.
func (b *engineBus) Open() {
	t, kind, err := b.open()
	if err != nil {
		b.setHealth(dbusapi.Down, err.Error())
		return
	}
	b.mu.Lock()
	b.transport, b.kind, b.over = t, kind, false
	b.mu.Unlock()
	b.setHealth(dbusapi.Up, "")
}

// Run implements Bus.
func (b *engineBus) Run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		start := time.Now()
		if t := b.opened(); t != nil {
			err := b.engine.Run(ctx, &watched{Transport: t, bus: b})
			b.ended(t)
			if ctx.Err() != nil {
				return
			}
			b.setHealth(dbusapi.Down, b.whyEnded(err))
		}
		wait(ctx, retry.after(time.Since(start)))
		if b.opened() == nil && ctx.Err() == nil {
			b.Open()
		}
	}
	if t := b.opened(); t != nil {
		t.Close()
		b.ended(t)
	}
}

// whyEnded is the reason for a transport that has ended, as people read it.
func (b *engineBus) whyEnded(err error) string {
	if errors.Is(err, io.EOF) {
		return b.config.SlavePath + ": end of file: the device or whoever serves it has gone"
	}
	return err.Error()
}

func (b *engineBus) setOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}

func (b *engineBus) opened() i2c.Transport {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.transport
}

// ended keeps the counters of a transport that is no more.
func (b *engineBus) ended(t i2c.Transport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addCounters(b.past, t)
	b.transport = nil
}

func addCounters(sum map[string]uint64, t i2c.Transport) {
	if counter, ok := t.(i2c.Counter); ok {
		for name, n := range counter.Counters() {
			sum[name] += n
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Do implements dbusapi.Bus.
func (b *engineBus) Do(ctx context.Context, req ipmb.Request) (ipmi.Response, error) {
	if req.Responder == 0 {
		req.Responder = b.config.RemoteAddress
	}
	return b.engine.Do(ctx, req)
}

// Broadcast implements dbusapi.Bus.
func (b *engineBus) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	return b.engine.Broadcast(ctx, netFn, lun, cmd, data)
}

// Properties implements dbusapi.Bus.
func (b *engineBus) Properties() dbusapi.Properties {
	b.mu.Lock()
	defer b.mu.Unlock()
	return dbusapi.Properties{
		Name:          b.config.Name,
		Device:        b.config.SlavePath,
		Transport:     b.kind,
		Channel:       *b.config.IPMIChannel,
		Index:         b.config.Index(),
		OwnAddress:    b.engine.Address(),
		RemoteAddress: b.config.RemoteAddress,
		State:         b.health.state,
		Reason:        b.health.reason,
		Policy:        b.engine.Policy(),
	}
}

// SetPolicy implements dbusapi.Bus.
func (b *engineBus) SetPolicy(p ipmb.Policy) error {
	b.engine.SetPolicy(p)
	return nil
}

// errBoundAddress: the kernel answers at the address it was given, so ours
// cannot change under it.
var errBoundAddress = errors.New("the kernel device is bound to its address")

// SetOwnAddress implements dbusapi.Bus.
func (b *engineBus) SetOwnAddress(_ context.Context, a ipmi.Address) error {
	if !a.IsSlave() {
		return fmt.Errorf("%w: own address %v", ipmb.ErrInvalid, a)
	}
	b.mu.Lock()
	bound := b.kind == TransportIPMBDev.String()
	b.mu.Unlock()
	if bound && a != b.engine.Address() {
		return fmt.Errorf("%w: %w", ipmb.ErrUnsupported, errBoundAddress)
	}
	b.engine.SetAddress(a)
	b.observer.Changed()
	return nil
}

// Statistics implements dbusapi.Bus: the engine's counters and those of the
// transports so far.
func (b *engineBus) Statistics() map[string]uint64 {
	statistics := b.engine.Statistics()
	b.mu.Lock()
	defer b.mu.Unlock()
	transport := maps.Clone(b.past)
	if b.transport != nil {
		addCounters(transport, b.transport)
	}
	for name, n := range transport {
		statistics[name] += n
	}
	return statistics
}
