package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// Monitor shows what passes between the buses and the message bus, live. It
// has a connection of its own.
type Monitor struct {
	client *Client
	conn   *dbuswire.Conn
	taps   chan *dbus.Message
	tracer *tracer
	whole  bool
}

// Queues of a monitor, in messages. The first is emptied by a goroutine that
// waits for nothing; when the second is full messages are lost and counted.
const (
	tapped   = 1024
	watching = 8192
)

// OpenMonitor begins to watch. Where the message bus lets it (only root may
// on a system bus) it sees everything; elsewhere Whole is false and it sees
// the requests that come from the buses, if their signals may be received.
func (c *Client) OpenMonitor(ctx context.Context) (*Monitor, error) {
	buses, err := c.Buses(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := dialClient(ctx, dbuswire.Config{Address: c.address})
	if err != nil {
		return nil, err
	}
	m := &Monitor{client: c, conn: conn, taps: make(chan *dbus.Message, tapped), tracer: newTracer(buses)}
	if m.whole, err = watch(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	conn.Eavesdrop(m.taps)
	return m, nil
}

// Whole reports whether the monitor sees calls and answers too.
func (m *Monitor) Whole() bool { return m.whole }

// Close ends the monitor, after Run has returned.
func (m *Monitor) Close() error {
	// The library closes the channel it taps into, and may still send.
	m.conn.Eavesdrop(nil)
	return m.conn.Close()
}

// ownerRule matches the signal that tells who is ipmbd from now on.
const ownerRule = "type='signal',sender='" + dbuswire.BusName + "',member='NameOwnerChanged',arg0='" + xml.ServiceName + "'"

// signalRules match the signals that the monitor shows, callRules the calls and
// what ends them.
var (
	signalRules = []string{
		"type='signal',sender='" + xml.ServiceName + "',interface='" + xml.BusInterface + "',member='ReceivedMessage'",
		ownerRule,
	}
	callRules = []string{
		"type='method_call',interface='" + xml.BusInterface + "'",
		"type='method_call',interface='" + xml.LegacyInterface + "'",
		"type='method_call',interface='" + xml.ExecuteInterface + "',member='execute'",
		"type='method_return',sender='" + xml.ServiceName + "'",
		"type='method_return',sender='" + xml.HostDaemonName + "'",
		"type='error'",
	}
)

// watch makes conn a monitor (D-Bus specification,
// "org.freedesktop.DBus.Monitoring.BecomeMonitor") or, where that is denied,
// has it receive the signals. It reports which.
func watch(ctx context.Context, conn *dbuswire.Conn) (whole bool, err error) {
	become := dbuswire.Method{Destination: dbuswire.BusName, Path: dbuswire.BusPath, Interface: "org.freedesktop.DBus.Monitoring", Member: "BecomeMonitor"}
	rules := append(append([]string{}, signalRules...), callRules...)
	_, err = conn.Call(ctx, become, rules, uint32(0))
	var denied dbus.Error
	if !errors.As(err, &denied) {
		return err == nil, err
	}
	for _, rule := range signalRules {
		if err := conn.AddMatch(ctx, rule); err != nil {
			return false, clientError(err)
		}
	}
	return false, nil
}

// seen is a message and when it came.
type seen struct {
	at  time.Time
	msg *dbus.Message
}

// Run gives each event from the time of OpenMonitor on to show, until ctx ends,
// show returns an error or the message bus is lost, and returns the cause. The
// order is the message bus's: the answer to a node's request can come before
// the signal that tells of the request. Run is called once.
func (m *Monitor) Run(ctx context.Context, show func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := make(chan seen, watching)
	var lost atomic.Int64
	var pump sync.WaitGroup
	pump.Go(func() { m.pump(ctx, queue, &lost) })
	defer pump.Wait()
	defer cancel()
	for s := range queue {
		if ctx.Err() != nil {
			break
		}
		if n := lost.Swap(0); n > 0 {
			if err := show(Event{Time: s.at, Kind: MessagesLost, Lost: int(n)}); err != nil {
				return err
			}
		}
		if err := m.show(ctx, s, show); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrDisconnected
}

// show gives the event of a message, if it is one.
func (m *Monitor) show(ctx context.Context, s seen, show func(Event) error) error {
	event, ok := m.tracer.event(s.at, s.msg)
	if !ok {
		return nil
	}
	if event.Kind == ServiceStarted {
		m.refresh(ctx)
	}
	return show(event)
}

// pump moves messages from the connection to the queue and never waits for the
// queue.
func (m *Monitor) pump(ctx context.Context, queue chan<- seen, lost *atomic.Int64) {
	defer close(queue)
	for {
		select {
		case <-ctx.Done():
			return
		case msg, ok := <-m.taps:
			if !ok {
				return // The connection is lost.
			}
			select {
			case queue <- seen{time.Now(), msg}:
			default:
				lost.Add(1)
			}
		}
	}
}

// refresh learns the buses of a service that has started anew. Without an
// answer the monitor knows the old ones, which are most likely the same.
func (m *Monitor) refresh(ctx context.Context) {
	if buses, err := m.client.Buses(ctx); err == nil {
		m.tracer.buses = buses
	}
}
