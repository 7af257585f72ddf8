package main

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// In each limitInterval equal entries are written once, and changes changesAtOnce times.
const limitInterval, changesAtOnce = time.Second, 3

// rateLimitCore limits equal entries: those with the same message and the same bus or host. The
// first one is written at once. Then the last one of each second is written, with the number of
// entries it stands for as "repeated". Of changes, which have a state or an action, the first
// three in a second are written at once, so that an ordinary sequence stays in its place.
type rateLimitCore struct {
	zapcore.Core
	key   entryKey // from the fields of With
	limit *rateLimit
}

// rateLimit holds the entries of the last interval.
type rateLimit struct {
	mu     sync.Mutex
	recent map[entryKey]*heldEntry
}

type entryKey struct{ message, source string }

// heldEntry counts the equal entries of an interval that were held back.
type heldEntry struct {
	atOnce   int // how many more entries are written at once
	repeated int
	write    func() // writes the last entry and the count; nil if none was held back
}

func newRateLimitCore(core zapcore.Core) *rateLimitCore {
	return &rateLimitCore{Core: core, limit: &rateLimit{recent: make(map[entryKey]*heldEntry)}}
}

// With implements zapcore.Core.
func (c *rateLimitCore) With(fields []zapcore.Field) zapcore.Core {
	return &rateLimitCore{c.Core.With(fields), c.key.with(fields), c.limit}
}

// Check implements zapcore.Core.
func (c *rateLimitCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core. Debug entries, and entries that name neither a bus nor a host,
// are not limited.
func (c *rateLimitCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	key := c.key.with(fields)
	key.message = e.Message
	if key.source == "" || e.Level == zapcore.DebugLevel || !c.limit.hold(key, c.Core, e, fields) {
		return c.Core.Write(e, fields)
	}
	return nil
}

// Sync implements zapcore.Core. It writes the entries that are held back.
func (c *rateLimitCore) Sync() error {
	c.limit.mu.Lock()
	all := c.limit.recent
	c.limit.recent = make(map[entryKey]*heldEntry)
	c.limit.mu.Unlock()
	for _, held := range all {
		if held.write != nil {
			held.write()
		}
	}
	return c.Core.Sync()
}

// hold reports whether it holds an entry back. Otherwise the caller writes the entry.
func (l *rateLimit) hold(key entryKey, core zapcore.Core, e zapcore.Entry, fields []zapcore.Field) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.recent[key]
	if held == nil {
		held = &heldEntry{atOnce: 1}
		if slices.ContainsFunc(fields, isChange) {
			held.atOnce = changesAtOnce
		}
		l.recent[key] = held
		time.AfterFunc(limitInterval, func() { l.release(key) })
	}
	if held.atOnce > 0 {
		held.atOnce--
		return false
	}
	held.repeated++
	fields = slices.Clone(fields)
	if held.repeated > 1 {
		fields = append(fields, zap.Int("repeated", held.repeated))
	}
	held.write = func() { _ = core.Write(e, fields) } // If the log fails, the error cannot be logged.
	return true
}

// release writes the entry that was held back in an interval and begins the next interval. After
// an interval without such an entry, the next entry is a first one again.
func (l *rateLimit) release(key entryKey) {
	l.mu.Lock()
	held := l.recent[key]
	if held == nil || held.write == nil {
		delete(l.recent, key)
		l.mu.Unlock()
		return
	}
	l.recent[key] = &heldEntry{}
	time.AfterFunc(limitInterval, func() { l.release(key) })
	l.mu.Unlock()
	held.write()
}

// with returns the key with the bus or the host that fields name.
func (k entryKey) with(fields []zapcore.Field) entryKey {
	for _, f := range fields {
		switch f.Key {
		case "bus", "host", "interface":
			k.source = f.Key + " " + f.String
		}
	}
	return k
}

func isChange(f zapcore.Field) bool { return f.Key == "state" || f.Key == "action" }
