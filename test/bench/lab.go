package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
	"ipmbd/test/hostd"
)

// lab is everything that takes part in measuring the daemon.
type lab struct {
	stage *stage
	bus   *messageBus
	ends  []func() // of what is not a process of the stage

	ipmbd, floor *process
	startTime    time.Duration // to READY=1, the median of some
	idle         memory

	calls    []*contender // sendRequest: see the constants below
	incoming []*contender // requests from a bus: see the constants below
}

// Contenders of lab.calls.
const (
	callFloor = iota
	callIPMBD
	callIPMBDSignals // on a channel of type ipmb
	callFrames       // on the frame socket
)

// Contenders of lab.incoming, by who answers.
const (
	incomingDirect = iota
	incomingHandler
	incomingHost
	incomingBridge
)

// memory is the resident memory of the two services in KiB.
type memory struct{ ipmbd, floor int }

const (
	// starts is how often ipmbd is started to see how long it takes.
	starts = 9
	// restTime is how long a service rests before its memory is idle memory.
	restTime = 500 * time.Millisecond
)

// openLab starts everything.
func openLab(ctx context.Context, program string) (*lab, error) {
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	l := &lab{stage: s}
	if err := l.open(ctx, program); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) open(ctx context.Context, program string) (err error) {
	buses := newSockets(l.stage.dir)
	if l.bus, err = l.stage.startMessageBus(); err != nil {
		return err
	}
	if _, err := l.stage.startPart(partResponder, buses.me, buses.ipmb, buses.floor); err != nil {
		return err
	}
	if l.floor, err = l.stage.startPart(partFloor, l.bus.address, buses.floor); err != nil {
		return err
	}
	channels := buses.channels()
	if err := l.measureStart(program, channels[:2]); err != nil {
		return err
	}
	if err := l.openIncoming(program, channels, buses); err != nil {
		return err
	}
	if err := l.openCalls(buses.frames); err != nil {
		return err
	}
	return l.measureIdle(ctx)
}

// close ends everything.
func (l *lab) close() {
	for _, end := range slices.Backward(l.ends) {
		end()
	}
	l.stage.close()
}

// measureStart starts ipmbd and ends it, a few times.
func (l *lab) measureStart(program string, channels []channel) error {
	d, err := newDaemon(l.stage, program, l.bus, config{Channels: channels})
	if err != nil {
		return err
	}
	var times []time.Duration
	for range starts {
		p, took, err := d.start()
		if err != nil {
			return err
		}
		p.stop()
		times = append(times, took)
	}
	l.startTime = median(times)
	return nil
}

// openIncoming starts the ipmbd that is measured, between the peers and who
// answers them.
func (l *lab) openIncoming(program string, channels []channel, buses sockets) error {
	if err := l.openAnswerer(); err != nil {
		return err
	}
	peers := []struct {
		title, socket string
		peer          peer
	}{
		incomingDirect:  {"ipmbd itself", buses.direct, asksDeviceID()},
		incomingHandler: {"a registered handler", buses.handler, asksDeviceID()},
		incomingHost:    {"the host IPMI daemon", buses.host, asksDeviceID()},
		incomingBridge:  {"a node on another bus", buses.bridge, asksAcross(channelME)},
	}
	var listeners []int
	for _, p := range peers {
		listener, err := listen(p.socket)
		if err != nil {
			return err
		}
		defer unix.Close(listener)
		listeners = append(listeners, listener)
	}
	d, err := newDaemon(l.stage, program, l.bus, config{Channels: channels, FrameSocket: buses.frames})
	if err != nil {
		return err
	}
	if l.ipmbd, _, err = d.start(); err != nil {
		return err
	}
	for i := range peers {
		p := &peers[i].peer
		if err := p.accept(listeners[i]); err != nil {
			return err
		}
		l.ends = append(l.ends, p.close)
		l.incoming = append(l.incoming, l.contender(peers[i].title, p, l.ipmbd))
	}
	return l.openAnswerer(fmt.Sprintf("%s%d,%d,%d", hostd.Register, ipmi.NetFnApp, ipmi.CommandGetDeviceID, 1<<channelHandler))
}

// openAnswerer starts a program that answers: the host IPMI daemon, or with
// arguments a registered handler.
func (l *lab) openAnswerer(args ...string) error {
	host, err := hostd.Open(l.bus.address, args...)
	if err != nil {
		return err
	}
	l.ends = append(l.ends, host.Kill)
	return nil
}

// openCalls connects the clients.
func (l *lab) openCalls(frameSocket string) error {
	clients := []struct {
		title   string
		service *process
		name    string
		index   uint8
	}{
		callFloor:        {"floor", l.floor, floorName, indexME},
		callIPMBD:        {"ipmbd", l.ipmbd, ipmbdName, indexME},
		callIPMBDSignals: {"ipmbd, type ipmb", l.ipmbd, ipmbdName, indexIPMB},
	}
	for _, c := range clients {
		link, err := dialService(l.bus, c.name, c.index)
		if err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
		l.ends = append(l.ends, link.close)
		l.calls = append(l.calls, l.contender(c.title, link, c.service))
	}
	frames, err := dialFrames(frameSocket, indexME)
	if err != nil {
		return err
	}
	l.ends = append(l.ends, frames.close)
	l.calls = append(l.calls, &contender{name: "ipmbd, frame socket", link: frames, service: l.ipmbd.pid()})
	return nil
}

func (l *lab) contender(name string, link link, service *process) *contender {
	return &contender{name: name, link: link, service: service.pid(), messageBus: l.bus.pid()}
}

func (l *lab) measureIdle(ctx context.Context) (err error) {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(restTime):
	}
	l.idle, err = l.memory()
	return err
}

func (l *lab) memory() (m memory, err error) {
	if m.ipmbd, err = resident(l.ipmbd.pid()); err != nil {
		return m, err
	}
	m.floor, err = resident(l.floor.pid())
	return m, err
}
