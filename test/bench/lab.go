package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// lab is everything that takes part in measuring a daemon with a bus of each kind.
type lab struct {
	stage    *stage
	programs programs
	bus      *messageBus
	buses    sockets
	variant  variant
	ends     []func() // of what is not a process of the stage

	ipmbd, floor *process
	startTime    time.Duration // to READY=1, the median of some
	idle         memory

	calls    []*contender // sendRequest: see the constants below
	incoming []*contender // requests from a bus: see the constants below
}

// Contenders of lab.calls.
const (
	callFloor        = iota // on godbus
	callEcho                // in C
	callIPMBD               // org.openbmc.Ipmb
	callIPMBDBus            // the bus's own method
	callIPMBDSignals        // on a channel of type ipmb
	callFrames              // on the frame socket
)

// Contenders of lab.incoming, by what answers.
const (
	incomingDirect = iota
	incomingHandler
	incomingFloor // the host daemon, by the bridge in C
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
func openLab(ctx context.Context, o options, p programs, v variant) (*lab, error) {
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	l := &lab{stage: s, programs: p, buses: newSockets(s.dir), variant: v}
	if err := l.open(ctx, o.ipmbd); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) open(ctx context.Context, program string) (err error) {
	if l.bus, err = l.stage.startBus(l.programs, l.variant); err != nil {
		return err
	}
	if err := l.openFloors(); err != nil {
		return err
	}
	channels := l.buses.channels()
	if l.variant.title == "" {
		if err := l.measureStart(program, channels[:2]); err != nil {
			return err
		}
	}
	if err := l.openIncoming(program, channels); err != nil {
		return err
	}
	if err := l.openCalls(); err != nil {
		return err
	}
	return l.measureIdle(ctx)
}

// startBus starts the message bus of a variant.
func (s *stage) startBus(p programs, v variant) (*messageBus, error) {
	if v.broker != "" {
		return s.startBroker(p.broker(), v.broker)
	}
	return s.startMessageBus()
}

// openFloors starts the responder and the services that ask it.
func (l *lab) openFloors() (err error) {
	b := l.buses
	if _, err := l.stage.startPart(partResponder, b.me, b.ipmb, b.floor, b.echo); err != nil {
		return err
	}
	l.floor, err = l.stage.startPart(partFloor, l.bus.address, b.floor)
	return err
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
	d, err := newDaemon(l.stage, program, l.bus, l.variant, config{Channels: channels})
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

// openIncoming starts the ipmbd that is measured and the bridge in C, between the
// peers and what answers them.
func (l *lab) openIncoming(program string, channels []channel) error {
	b := l.buses
	peers := []struct {
		title, socket string
		peer          peer
	}{
		incomingDirect:  {"ipmbd itself", b.direct, asksBMC()},
		incomingHandler: {"a registered handler", b.handler, asksDeviceID()},
		incomingFloor:   {"the host IPMI daemon, C bridge", b.floorBridge, asksDeviceID()},
		incomingHost:    {"the host IPMI daemon", b.host, asksDeviceID()},
		incomingBridge:  {"a node on another bus", b.bridge, asksAcross(channelME)},
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
	floorBridge, err := l.openAnswered(program, channels)
	if err != nil {
		return err
	}
	for i := range peers {
		p, service := &peers[i].peer, l.ipmbd
		if i == incomingFloor {
			service = floorBridge
		}
		if err := p.accept(listeners[i]); err != nil {
			return err
		}
		l.ends = append(l.ends, p.close)
		l.incoming = append(l.incoming, l.contender(peers[i].title, p, service))
	}
	return nil
}

// openAnswered starts the host IPMI daemon, what brings requests to it, and a
// handler that is registered.
func (l *lab) openAnswered(program string, channels []channel) (floorBridge *process, err error) {
	if _, err := l.stage.startReady(l.programs.host(), l.bus.address); err != nil {
		return nil, err
	}
	d, err := newDaemon(l.stage, program, l.bus, l.variant, config{Channels: channels, FrameSocket: l.buses.frames})
	if err != nil {
		return nil, err
	}
	if l.ipmbd, _, err = d.start(); err != nil {
		return nil, err
	}
	registered := fmt.Sprintf("%d,%d,%d", ipmi.NetFnApp, ipmi.CommandGetDeviceID, 1<<channelHandler)
	if _, err := l.stage.startReady(l.programs.host(), l.bus.address, registered); err != nil {
		return nil, err
	}
	return l.stage.startReady(l.programs.bridge(), l.bus.address, l.buses.floorBridge)
}

// openCalls starts the echo in C and connects the clients.
func (l *lab) openCalls() error {
	echo, err := l.stage.startReady(l.programs.echo(), l.bus.address, l.buses.echo)
	if err != nil {
		return err
	}
	clients := []struct {
		title   string
		service *process
		method  method
	}{
		callFloor:        {"floor", l.floor, sendRequest(floorName, indexME)},
		callEcho:         {"C echo", echo, sendRequest(echoName, indexME)},
		callIPMBD:        {"ipmbd", l.ipmbd, sendRequest(ipmbdName, indexME)},
		callIPMBDBus:     {"ipmbd, method of the bus", l.ipmbd, busSendRequest("me")},
		callIPMBDSignals: {"ipmbd, type ipmb", l.ipmbd, sendRequest(ipmbdName, indexIPMB)},
	}
	for _, c := range clients {
		link, err := dialService(l.bus, c.method)
		if err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
		l.ends = append(l.ends, link.close)
		l.calls = append(l.calls, l.contender(c.title, link, c.service))
	}
	frames, err := dialFrames(l.buses.frames, indexME)
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
	if err := rest(ctx, restTime); err != nil {
		return err
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

// rest waits.
func rest(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}
