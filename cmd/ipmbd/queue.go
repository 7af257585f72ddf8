package main

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// maxQueuedEntries is how many entries wait while the journal, or the reader of stderr, does not
	// read. Further ones are dropped and counted.
	maxQueuedEntries = 4096
	// syncTime is how long the end of the process waits for entries to be written.
	syncTime = time.Second
)

// queueCore writes entries in a goroutine of its own, so that nothing waits for a journal that
// does not read: the readers of buses log, too.
type queueCore struct {
	zapcore.Core
	queue *entryQueue
}

// entryQueue has the entries to be written, in order.
type entryQueue struct {
	mu      sync.Mutex
	writes  []func()
	dropped int
	idle    chan struct{} // closed when all are written; nil if none is
}

func newQueueCore(core zapcore.Core) *queueCore { return &queueCore{core, new(entryQueue)} }

// With implements zapcore.Core.
func (c *queueCore) With(fields []zapcore.Field) zapcore.Core {
	return &queueCore{c.Core.With(fields), c.queue}
}

// Check implements zapcore.Core.
func (c *queueCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core. It does not block.
func (c *queueCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	fields = slices.Clone(fields)
	c.queue.add(func(dropped int) {
		if dropped > 0 {
			lost := zapcore.Entry{Level: zapcore.WarnLevel, Time: e.Time, Message: "entries of the log are lost: they were not read"}
			_ = c.Core.Write(lost, []zapcore.Field{zap.Int("count", dropped)})
		}
		_ = c.Core.Write(e, fields) // If the log fails, the error cannot be logged.
	})
	return nil
}

// Sync implements zapcore.Core. It waits for syncTime at most.
func (c *queueCore) Sync() error {
	c.queue.mu.Lock()
	idle := c.queue.idle
	c.queue.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-time.After(syncTime):
		}
	}
	return nil
}

// add queues a write, which is called with the number of entries that were dropped before it.
func (q *entryQueue) add(write func(dropped int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.writes) >= maxQueuedEntries {
		q.dropped++
		return
	}
	dropped := q.dropped
	q.dropped = 0
	q.writes = append(q.writes, func() { write(dropped) })
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run()
	}
}

// run writes until nothing waits.
func (q *entryQueue) run() {
	for {
		q.mu.Lock()
		if len(q.writes) == 0 {
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		write := q.writes[0]
		q.writes = q.writes[1:]
		q.mu.Unlock()
		write()
	}
}
