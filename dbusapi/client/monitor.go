package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// NoticeKind is the kind of a Notice.
type NoticeKind uint8

// Kinds of notices.
const (
	RequestSeen    NoticeKind = iota // a request on its way
	ResponseSeen                     // the response to a request
	FailureSeen                      // a request that will have no response
	ServiceStarted                   // ipmbd is on the message bus
	ServiceStopped                   // ipmbd is not on the message bus
	MessagesLost                     // the consumer was too slow
	MonitorStarted                   // Monitor begins to watch
)

// Notice is one thing that a client has observed: a message between a bus and D-Bus, or a change
// of ipmbd.
type Notice struct {
	Time time.Time
	Kind NoticeKind

	// Incoming: a node made the request, and a program responds. Otherwise a program made it.
	Incoming bool
	Bus      string       // empty if it is not known
	Node     ipmi.Address // on the bus; 0 if it is not known, and all nodes for a broadcast
	NetFn    ipmi.NetFn   // of the request
	LUN      ipmi.LUN     // of the request's responder
	Command  ipmi.Command
	Data     []byte // of the request or of the response; nil if Secret
	Secret   bool   // the data may hold a password or a key and are left out

	Code   ipmi.CompletionCode // ResponseSeen
	Reason string              // FailureSeen
	Took   time.Duration       // since the request; 0 if that was not seen

	Program string // unique D-Bus name of the program, if it is known
	Lost    int    // MessagesLost: their number
	Whole   bool   // MonitorStarted: calls and responses are seen too
}

// Limits of a monitor, in messages. A goroutine moves messages from the tap to the queue, and does
// not wait. When the queue is full, messages are lost and counted.
const maxTapped, maxQueued = 1024, 8192

// Monitor watches the messages between the buses and D-Bus, and calls show for each, until ctx
// ends (nil), show returns an error, or the message bus is lost (ErrDisconnected). The first
// notice is MonitorStarted.
//
// Where the message bus allows monitors (on a system bus, to root only), Monitor sees all
// messages. Elsewhere Whole is false in the first notice, and Monitor sees only requests from
// nodes, if the message bus lets their signals pass. The response to a node's request can come
// before the signal that announces the request.
func (c *Client) Monitor(ctx context.Context, show func(Notice) error) error {
	buses, err := c.Buses(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	conn, err := connect(ctx, dbuswire.Config{Address: c.address, Monitor: true})
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer conn.Close()
	whole, err := watch(ctx, conn)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	m := &monitor{client: c, tracer: newTracer(buses), show: show, tap: make(chan *dbus.Message, maxTapped)}
	conn.Eavesdrop(m.tap)
	defer conn.Eavesdrop(nil) // At its end, the connection would close the channel.
	if err := show(Notice{Time: time.Now(), Kind: MonitorStarted, Whole: whole}); err != nil {
		return err
	}
	return m.showMessages(ctx)
}

// ownerRule matches the signal that tells which connection has ipmbd's name.
const ownerRule = "type='signal',sender='" + dbuswire.BusName + "',member='NameOwnerChanged'," +
	"arg0='" + xml.ServiceName + "'"

// signalRules match the signals that a monitor shows.
var signalRules = []string{
	ownerRule,
	"type='signal',sender='" + xml.ServiceName + "',interface='" + xml.BusInterface + "',member='ReceivedMessage'",
}

// callRules match the calls and replies that a monitor shows.
var callRules = []string{
	"type='method_call',interface='" + xml.BusInterface + "'",
	"type='method_call',interface='" + xml.LegacyInterface + "'",
	"type='method_call',interface='" + xml.ExecuteInterface + "',member='" + xml.ExecuteMember + "'",
	"type='method_return',sender='" + xml.ServiceName + "'",
	"type='method_return',sender='" + xml.HostDaemonName + "'",
	"type='error'",
}

// watch makes a connection a monitor (D-Bus specification,
// "org.freedesktop.DBus.Monitoring.BecomeMonitor"). If that is denied, it subscribes to the
// signals. It reports whether the connection is a monitor.
func watch(ctx context.Context, conn *dbuswire.Conn) (whole bool, err error) {
	become := dbuswire.Method{Destination: dbuswire.BusName, Path: dbuswire.BusPath,
		Interface: "org.freedesktop.DBus.Monitoring", Member: "BecomeMonitor"}
	err = askBus(ctx, func(ctx context.Context) error {
		_, err := conn.Call(ctx, become, slices.Concat(signalRules, callRules), uint32(0))
		return err
	})
	if !errors.As(err, new(dbus.Error)) {
		return err == nil, err
	}
	for _, rule := range signalRules {
		if err := addMatch(ctx, conn, rule); err != nil {
			return false, err
		}
	}
	return false, nil
}

// monitor is a call of Monitor.
type monitor struct {
	client *Client
	tracer *tracer
	show   func(Notice) error
	tap    chan *dbus.Message // closed when the connection is lost
	lost   atomic.Int64
}

// seen is a message and the time at which it came.
type seen struct {
	at  time.Time
	msg *dbus.Message
}

// showMessages shows messages until ctx ends.
func (m *monitor) showMessages(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := make(chan seen, maxQueued)
	var pump sync.WaitGroup
	pump.Go(func() { m.fillQueue(ctx, queue) })
	defer pump.Wait()
	defer cancel()
	for s := range queue {
		if ctx.Err() != nil {
			break
		}
		if err := m.showMessage(ctx, s); err != nil {
			return err
		}
	}
	return unlessEnded(ctx, ErrDisconnected)
}

// fillQueue fills the queue until ctx ends or the connection is lost. Then it closes the queue.
func (m *monitor) fillQueue(ctx context.Context, queue chan<- seen) {
	defer close(queue)
	for {
		select {
		case <-ctx.Done():
			return
		case msg, ok := <-m.tap:
			if !ok {
				return
			}
			select {
			case queue <- seen{time.Now(), msg}:
			default:
				m.lost.Add(1)
			}
		}
	}
}

// showMessage shows the notice of a message, and reports lost messages before it.
func (m *monitor) showMessage(ctx context.Context, s seen) error {
	if n := m.lost.Swap(0); n > 0 {
		if err := m.show(Notice{Time: s.at, Kind: MessagesLost, Lost: int(n)}); err != nil {
			return err
		}
	}
	notice, ok := m.tracer.trace(s.at, s.msg)
	if !ok {
		return nil
	}
	if notice.Kind == ServiceStarted {
		// If the call fails, the old buses are most likely still right.
		if buses, err := m.client.Buses(ctx); err == nil {
			m.tracer.buses = buses
		}
	}
	return m.show(notice)
}
