package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
	"ipmbd/xml"
)

// maxHeard is how many platform events wait to be shown. When there are more
// the newest are lost and counted.
const maxHeard = 1024

// Events subscribes and gives each platform event to show, in the order of
// ipmbd, until ctx ends (nil), show returns an error or the message bus is lost
// (ErrDisconnected). An event's Host is not known. Up to 25 that nobody has
// heard come first, and no other subscriber gets those.
//
// When ipmbd leaves the message bus, Events waits until it is back and
// subscribes again. tell is told of ServiceStarted each time that this has
// succeeded, the first included, of ServiceStopped, and of MessagesLost: events
// that came faster than they were shown. show and tell are called one after the
// other.
func (c *Client) Events(ctx context.Context, show func(ipmi.Event) error, tell func(Event)) error {
	f := newFollower(tell)
	heard := &hearing{show: show, tell: tell, queue: make(chan ipmi.Event, maxHeard)}
	if err := f.connect(ctx, c, nil, heard.hear); err != nil {
		return unlessEnded(ctx, err)
	}
	defer f.conn.Close()
	subscribe := func(service string) error { return f.callRouter(ctx, service, "Subscribe") }
	for {
		if err := f.keep(subscribe); err != nil {
			return unlessEnded(ctx, err)
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-f.conn.Done():
			return errors.Join(heard.showQueued(), ErrDisconnected)
		case <-f.changed:
			err = heard.showQueued() // They came before the change.
		case e := <-heard.queue:
			err = heard.showNext(e)
		}
		if err != nil {
			return err
		}
	}
}

// hearing is the platform events that have come and are not shown yet.
type hearing struct {
	show  func(ipmi.Event) error
	tell  func(Event)
	queue chan ipmi.Event
	lost  atomic.Int64
}

// hear queues the event of a signal; it does not block.
func (h *hearing) hear(s *dbus.Signal) {
	e, ok := eventOf(s)
	if !ok {
		return
	}
	select {
	case h.queue <- e:
	default:
		h.lost.Add(1)
	}
}

// eventOf reads PlatformEvent.
func eventOf(s *dbus.Signal) (ipmi.Event, bool) {
	var channel uint8
	var e ipmi.Event
	var message []byte
	if s.Name != xml.RouterInterface+".PlatformEvent" || dbus.Store(s.Body, &channel, &e.Interface, &e.Generator, &message) != nil || len(message) != len(e.Message) {
		return ipmi.Event{}, false
	}
	e.Channel = ipmi.Channel(channel)
	copy(e.Message[:], message)
	return e, true
}

// showNext shows an event, and before it that others were lost.
func (h *hearing) showNext(e ipmi.Event) error {
	if n := h.lost.Swap(0); n > 0 {
		h.tell(Event{Time: time.Now(), Kind: MessagesLost, Lost: int(n)})
	}
	return h.show(e)
}

// showQueued shows what has come by now.
func (h *hearing) showQueued() error {
	for range len(h.queue) {
		if err := h.showNext(<-h.queue); err != nil {
			return err
		}
	}
	return nil
}
