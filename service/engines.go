package service

import (
	"maps"
	"sync"
	"time"

	"ipmbd/ipmb"
	"ipmbd/service/config"
)

// engines keeps the engines of buses that have been removed, by device: what an engine
// remembers of its bus also holds when the bus is served again. The zero value is ready.
type engines struct {
	mu   sync.Mutex
	idle map[string]idleEngine
}

// idleEngine is an engine, and when its bus ended.
type idleEngine struct {
	engine *ipmb.Engine
	since  time.Time
}

// keep remembers the engine of a bus that has ended.
func (e *engines) keep(b *engineBus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle == nil {
		e.idle = make(map[string]idleEngine)
	}
	// No answer is kept, and no number held, for longer.
	maps.DeleteFunc(e.idle, func(_ string, one idleEngine) bool { return time.Since(one.since) > config.MaxWindow })
	e.idle[b.config.SlavePath] = idleEngine{b.engine, time.Now()}
}

// renew gives a bus that has not begun the engine of the one before it, if there is
// one that has ended.
func (e *engines) renew(b *engineBus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	one, ok := e.idle[b.config.SlavePath]
	delete(e.idle, b.config.SlavePath)
	if ok && one.engine.Renew(b.settings) == nil {
		b.use(one.engine)
	}
}
