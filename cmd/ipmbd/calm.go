package main

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// calmTime is how often something is logged again.
const calmTime = time.Second

// calmCore lets what a bus or a host says again and again through once in a second:
// the first at once, then the last one of each second, with the number of those
// that it stands for as "repeated". The same is the same message of the same bus or
// host. Of a change, which has a new state or an action, the first three of a second
// come at once, so that what happens as a rule is in its place.
type calmCore struct {
	zapcore.Core
	key  calmKey // of With
	calm *calm
}

// calm is what was logged within the last second.
type calm struct {
	mu     sync.Mutex
	recent map[calmKey]*calmEntry
}

type calmKey struct{ message, source string }

// changesAtOnce is how many changes of a bus or host come at once.
const changesAtOnce = 3

// calmEntry is the last of those that were held back.
type calmEntry struct {
	room     int // for more that come at once
	core     zapcore.Core
	entry    zapcore.Entry
	fields   []zapcore.Field
	repeated int
}

func newCalmCore(core zapcore.Core) *calmCore {
	return &calmCore{Core: core, calm: &calm{recent: make(map[calmKey]*calmEntry)}}
}

// With implements zapcore.Core.
func (c *calmCore) With(fields []zapcore.Field) zapcore.Core {
	return &calmCore{c.Core.With(fields), c.key.with(fields), c.calm}
}

// Check implements zapcore.Core.
func (c *calmCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core. What is for debugging, and what is of no bus or
// host, is written as it comes.
func (c *calmCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	key := c.key.with(fields)
	key.message = e.Message
	atOnce := 1
	if slices.ContainsFunc(fields, isChange) {
		atOnce = changesAtOnce
	}
	if key.source == "" || e.Level == zapcore.DebugLevel || !c.calm.hold(key, atOnce, c.Core, e, fields) {
		return c.Core.Write(e, fields)
	}
	return nil
}

// Sync implements zapcore.Core: what is held back is written now.
func (c *calmCore) Sync() error {
	c.calm.releaseAll()
	return c.Core.Sync()
}

// hold reports whether an entry is held back, of which the first few come at once.
func (c *calm) hold(key calmKey, atOnce int, core zapcore.Core, e zapcore.Entry, fields []zapcore.Field) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent, again := c.recent[key]
	if !again {
		c.recent[key] = &calmEntry{room: atOnce - 1}
		time.AfterFunc(calmTime, func() { c.release(key) })
		return false
	}
	if recent.room > 0 {
		recent.room--
		return false
	}
	recent.core, recent.entry, recent.fields = core, e, slices.Clone(fields)
	recent.repeated++
	return true
}

// release writes what was held back in a second; after one in which nothing was,
// the next is the first again.
func (c *calm) release(key calmKey) {
	c.mu.Lock()
	held := c.recent[key]
	if held == nil || held.repeated == 0 {
		delete(c.recent, key)
		c.mu.Unlock()
		return
	}
	c.recent[key] = &calmEntry{}
	time.AfterFunc(calmTime, func() { c.release(key) })
	c.mu.Unlock()
	held.write()
}

func (c *calm) releaseAll() {
	c.mu.Lock()
	all := c.recent
	c.recent = make(map[calmKey]*calmEntry)
	c.mu.Unlock()
	for _, held := range all {
		if held.repeated > 0 {
			held.write()
		}
	}
}

// write has no one to report an error to: it is the log that fails.
func (e *calmEntry) write() {
	fields := e.fields
	if e.repeated > 1 {
		fields = append(fields, zap.Int("repeated", e.repeated))
	}
	_ = e.core.Write(e.entry, fields)
}

// with is the key with what fields say of it.
func (k calmKey) with(fields []zapcore.Field) calmKey {
	for _, f := range fields {
		switch f.Key {
		case "bus", "host", "interface":
			k.source = f.Key + " " + f.String
		}
	}
	return k
}

func isChange(f zapcore.Field) bool { return f.Key == "state" || f.Key == "action" }
