package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// lab has all programs that take part in measuring a daemon with a bus of each kind. Its sockets
// in the folder of the stage are named after the programs behind them.
type lab struct {
	*stage
	options options
	variant variant

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

// IPMI channels of the buses.
const (
	channelIPMB = iota
	channelME
	channelDirect
	channelHandler
	channelHost
	channelBridge
)

// channels has the buses of two responders, and the buses of peers by what answers them.
func (l *lab) channels() []object {
	across := asking("none")
	across["bridge"] = true
	return []object{
		channel(l.path("me"), "me", 0, channelME, nil),
		channel(l.path("ipmb"), "ipmb", 0, channelIPMB, object{"type": "ipmb"}),
		channel(l.path("direct"), "direct", 1, channelDirect, asking("bmc")),
		channel(l.path("handler"), "handler", 2, channelHandler, asking("none")),
		channel(l.path("host"), "host", 3, channelHost, asking("host")),
		channel(l.path("bridge"), "bridge", 4, channelBridge, across),
	}
}

// onLab does something with a lab.
func onLab(ctx context.Context, o options, v variant, do func(l *lab) error) error {
	return onStage(o, v, func(s *stage) error {
		l := &lab{stage: s, options: o, variant: v}
		for _, step := range []func() error{l.startFloors, l.measureStart, l.openIncoming, l.openCalls} {
			if err := step(); err != nil {
				return err
			}
		}
		err := rest(ctx, restTime)
		if err == nil {
			l.idle, err = l.memory()
		}
		if err != nil {
			return err
		}
		return do(l)
	})
}

// startFloors starts the responder and a service that asks it.
func (l *lab) startFloors() (err error) {
	if _, err := l.startPart(partResponder, l.path("me"), l.path("ipmb"), l.path("floor"), l.path("echo")); err != nil {
		return err
	}
	l.floor, err = l.startPart(partFloor, l.address(), l.path("floor"))
	return err
}

// measureStart starts ipmbd and ends it, a few times.
func (l *lab) measureStart() error {
	if l.variant.title != "" {
		return nil
	}
	var times []time.Duration
	for range starts {
		p, took, err := l.startIPMBD(l.options, l.variant, object{"channels": l.channels()[:2]})
		if err != nil {
			return err
		}
		p.stop()
		times = append(times, took)
	}
	l.startTime = median(times)
	return nil
}

// openIncoming starts the ipmbd that is measured and the bridge in C, between the peers and the
// programs that answer them.
func (l *lab) openIncoming() error {
	titles := []string{
		incomingDirect:  "ipmbd itself",
		incomingHandler: "a registered handler",
		incomingFloor:   "the host IPMI daemon, C bridge",
		incomingHost:    "the host IPMI daemon",
		incomingBridge:  "a node on another bus",
	}
	buses := []string{"direct", "handler", "floor-bridge", "host", "bridge"}
	peers := []*peer{asksBMC(), asksDeviceID(), asksDeviceID(), asksDeviceID(), asksAcross(channelME)}
	var floorBridge *process
	err := l.acceptPeers(peers, buses, func() (err error) {
		floorBridge, err = l.startAnswered()
		return err
	})
	for i, p := range peers {
		service := l.ipmbd
		if i == incomingFloor {
			service = floorBridge
		}
		if err == nil {
			l.incoming = append(l.incoming, l.contender(titles[i], p, service))
		}
	}
	return err
}

// startAnswered starts the host IPMI daemon, the programs that bring requests to it, and a handler
// that is registered.
func (l *lab) startAnswered() (floorBridge *process, err error) {
	host := l.options.program("host")
	if _, err := l.startReady(host, l.address()); err != nil {
		return nil, err
	}
	config := object{"channels": l.channels(), "frame-socket": l.path("frames")}
	if l.ipmbd, _, err = l.startIPMBD(l.options, l.variant, config); err != nil {
		return nil, err
	}
	registered := fmt.Sprintf("%d,%d,%d", ipmi.NetFnApp, ipmi.CommandGetDeviceID, 1<<channelHandler)
	if _, err := l.startReady(host, l.address(), registered); err != nil {
		return nil, err
	}
	return l.startReady(l.options.program("bridge"), l.address(), l.path("floor-bridge"))
}

// openCalls starts the echo in C and connects the clients.
func (l *lab) openCalls() error {
	echo, err := l.startReady(l.options.program("echo"), l.address(), l.path("echo"))
	if err != nil {
		return err
	}
	const ofTypeIPMB = 0 // the index of the channel
	clients := []struct {
		title   string
		service *process
		method  method
	}{
		callFloor:        {"floor", l.floor, sendRequest(floorName, indexOf(0))},
		callEcho:         {"C echo", echo, sendRequest(echoName, indexOf(0))},
		callIPMBD:        {"ipmbd", l.ipmbd, sendRequest(ipmbdName, indexOf(0))},
		callIPMBDBus:     {"ipmbd, method of the bus", l.ipmbd, busSendRequest("me")},
		callIPMBDSignals: {"ipmbd, type ipmb", l.ipmbd, sendRequest(ipmbdName, ofTypeIPMB)},
	}
	for _, c := range clients {
		link, err := l.dialService(c.method)
		if err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
		l.calls = append(l.calls, l.contender(c.title, link, c.service))
	}
	frames := asksFrames(indexOf(0))
	conn, err := l.dial(unix.SOCK_SEQPACKET, l.at("frames"))
	frames.open(conn)
	l.calls = append(l.calls, &contender{name: "ipmbd, frame socket", link: frames, service: l.ipmbd.pid()})
	return err
}

// contender is one that asks by the message bus.
func (s *stage) contender(name string, link link, service *process) *contender {
	return &contender{name: name, link: link, service: service.pid(), messageBus: s.bus.pid()}
}

func (l *lab) memory() (m memory, err error) {
	if m.ipmbd, err = l.ipmbd.resident(); err == nil {
		m.floor, err = l.floor.resident()
	}
	return m, err
}
