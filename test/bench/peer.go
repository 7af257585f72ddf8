package main

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// peer is a link whose requests come in from a bus: it is the responder's
// opposite, a node that asks the BMC, always the same.
type peer struct {
	connection
	order
	request ipmb.Frame
	// arrival checks the data of an answer to a request, and takes the number of
	// its arrival from them; an answer without one leaves the request's own.
	arrival  func(data []byte, request uint32) (at uint32, err error)
	free     []uint8 // sequence numbers, the longest unused first
	slotOf   [ipmb.SequenceNumbers]int
	numberOf [ipmb.SequenceNumbers]uint32

	out     [][]byte
	in      []byte
	slots   []int
	refused int // requests
}

// asksDeviceID is a peer that asks for the device ID.
func asksDeviceID() *peer {
	return &peer{
		request: ipmb.Frame{
			Destination: bmcAddress, NetFn: ipmi.NetFnApp, Source: responderAddress, Command: ipmi.CommandGetDeviceID,
		},
		arrival: func(data []byte, _ uint32) (uint32, error) { return checkDeviceID(data) },
	}
}

// asksBMC is a peer that asks for the device ID of the built-in BMC, which does not
// number its answers.
func asksBMC() *peer {
	p := asksDeviceID()
	p.arrival = func(data []byte, request uint32) (uint32, error) {
		if len(data) < len(deviceID) {
			return 0, fmt.Errorf("not a device ID: % X", data)
		}
		return request, nil
	}
	return p
}

// asksAcross is a peer that asks for the device ID of a node on another channel,
// by a Send Message that is answered with the node's response.
func asksAcross(channel byte) *peer {
	const sendMessage, tracked = 0x34, 0x40
	inner := ipmb.Frame{
		Destination: responderAddress, NetFn: ipmi.NetFnApp, Source: bmcAddress, Command: ipmi.CommandGetDeviceID,
	}.Append(nil)
	return &peer{
		request: ipmb.Frame{
			Destination: bmcAddress, NetFn: ipmi.NetFnApp, Source: responderAddress, Command: sendMessage,
			Data: append([]byte{tracked | channel}, inner...),
		},
		// It has the node's answer in it, and the checksum of that last.
		arrival: func(data []byte, _ uint32) (uint32, error) {
			begin := max(bytes.Index(data, deviceID), 0)
			return checkDeviceID(data[begin:max(len(data)-1, begin)])
		},
	}
}

// accept waits for the daemon at the other end of the peer's bus, until the stage ends.
func (s *stage) accept(p *peer, listener int) error {
	if err := bePatient(listener); err != nil {
		return err
	}
	fd, err := accept(listener)
	if err != nil {
		return fmt.Errorf("ipmbd did not connect: %w", err)
	}
	s.atEnd(func() { unix.Close(fd) })
	p.fd, p.in = fd, make([]byte, 512)
	for i := range ipmb.SequenceNumbers {
		p.free = append(p.free, uint8(i))
	}
	return bePatient(fd)
}

// acceptPeers listens on the buses of peers, starts their daemon, and waits for it.
func (s *stage) acceptPeers(peers []*peer, buses []string, start func() error) error {
	var listeners []int
	for _, bus := range buses {
		fd, err := listen(s.path(bus))
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		listeners = append(listeners, fd)
	}
	err := start()
	for i, p := range peers {
		if err == nil {
			err = s.accept(p, listeners[i])
		}
	}
	return err
}

// ask implements link.
func (p *peer) ask(slot int) {
	sequence := p.free[0]
	p.free = append(p.free[:0], p.free[1:]...)
	p.slotOf[sequence] = slot
	p.numberOf[sequence] = p.number()
	request := p.request
	request.Sequence = sequence
	p.out = append(p.out, request.Append(nil))
}

// send implements link.
func (p *peer) send() error {
	for _, frame := range p.out {
		if err := write(p.fd, frame); err != nil {
			return err
		}
	}
	p.out = p.out[:0]
	return nil
}

// answers implements link.
func (p *peer) answers() ([]int, error) {
	n, err := read(p.fd, p.in)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	frame, err := ipmb.Decode(p.in[:n])
	if err != nil {
		return nil, fmt.Errorf("% X: %w", p.in[:n], err)
	}
	if err := p.take(frame); err != nil {
		return nil, fmt.Errorf("answer % X: %w", p.in[:n], err)
	}
	p.free = append(p.free, frame.Sequence)
	p.slots = append(p.slots[:0], p.slotOf[frame.Sequence])
	return p.slots, nil
}

// take checks an answer. C0h, busy, is a refusal.
func (p *peer) take(answer ipmb.Frame) error {
	switch {
	case answer.NetFn != ipmi.NetFnApp.Response():
		return errors.New("not of the network function")
	case answer.Code == ipmi.CodeNodeBusy:
		p.refused++
		return nil
	case answer.Code != ipmi.CodeOK:
		return fmt.Errorf("completion code %v", answer.Code)
	}
	request := p.numberOf[answer.Sequence]
	at, err := p.arrival(answer.Data, request)
	if err == nil {
		p.answered(request, at)
	}
	return err
}

// tally implements link.
func (p *peer) tally() tally { return tally{p.found, p.refused} }
