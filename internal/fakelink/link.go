// Package fakelink has a link of a bus for tests of the bus's clients.
package fakelink

import (
	"slices"
	"sync"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Link answers each request by a function, in a goroutine of its own. A test that needs other
// methods of a bus.Link implements them.
type Link struct {
	bus.Link // nil

	// Answer answers a request. cancelled is closed when the client no longer waits.
	Answer func(cancelled <-chan struct{}, req ipmb.Request) (ipmi.Response, error)
	calls  sync.Map // of *bus.Call: the function that cancels it
}

// Send implements bus.Link.
func (l *Link) Send(c *bus.Call, req *ipmb.Request) error {
	if err := req.Check(); err != nil {
		return err
	}
	r := *req
	r.Data = slices.Clone(req.Data)
	cancelled := make(chan struct{})
	l.calls.Store(c, sync.OnceFunc(func() { close(cancelled) }))
	go func() {
		res, err := l.Answer(cancelled, r)
		l.calls.Delete(c)
		c.End(res, err)
	}()
	return nil
}

// Cancel implements bus.Link.
func (l *Link) Cancel(c *bus.Call) {
	if cancel, ok := l.calls.Load(c); ok {
		cancel.(func())()
	}
}

// StartBroadcast implements bus.Link.
func (l *Link) StartBroadcast(done func(error), _ ipmi.NetFn, _ ipmi.LUN, _ ipmi.Command, _ []byte) error {
	done(nil)
	return nil
}

// Engine makes the Link of an engine that its caller runs. The Link has no device.
func Engine(e *ipmb.Engine) bus.Link {
	return struct {
		bus.EngineLink
		bus.Fixed
		bus.Device
	}{EngineLink: bus.EngineLink{Engine: e}}
}
