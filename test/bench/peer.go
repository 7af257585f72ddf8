package main

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// peer is a link whose requests come in from a bus: it is the responder's
// opposite, a node that asks the BMC, always the same.
type peer struct {
	fd      int
	request ipmb.Frame
	isRight func(data []byte) bool // of an answer
	free    []uint8                // sequence numbers, the longest unused first
	slotOf  [ipmb.SequenceNumbers]int

	out   [][]byte
	in    []byte
	slots []int
}

// asksDeviceID is a peer that asks for the device ID.
func asksDeviceID() peer {
	return peer{
		request: ipmb.Frame{
			Destination: bmcAddress, NetFn: ipmi.NetFnApp, Source: responderAddress, Command: ipmi.CommandGetDeviceID,
		},
		isRight: func(data []byte) bool { return len(data) == len(deviceID) },
	}
}

// asksAcross is a peer that asks for the device ID of a node on another channel,
// by a Send Message that is answered with the node's response.
func asksAcross(channel byte) peer {
	const sendMessage, tracked = 0x34, 0x40
	inner := ipmb.Frame{
		Destination: responderAddress, NetFn: ipmi.NetFnApp, Source: bmcAddress, Command: ipmi.CommandGetDeviceID,
	}.Append(nil)
	return peer{
		request: ipmb.Frame{
			Destination: bmcAddress, NetFn: ipmi.NetFnApp, Source: responderAddress, Command: sendMessage,
			Data: append([]byte{tracked | channel}, inner...),
		},
		isRight: func(data []byte) bool { return bytes.Contains(data, deviceID) },
	}
}

// accept waits for the daemon at the other end of the peer's bus.
func (p *peer) accept(listener int) error {
	if err := bePatient(listener); err != nil {
		return err
	}
	fd, err := accept(listener)
	if err != nil {
		return fmt.Errorf("ipmbd did not connect: %w", err)
	}
	if err := bePatient(fd); err != nil {
		unix.Close(fd)
		return err
	}
	p.fd, p.in = fd, make([]byte, 512)
	for i := range ipmb.SequenceNumbers {
		p.free = append(p.free, uint8(i))
	}
	return nil
}

func (p *peer) close() { unix.Close(p.fd) }

// ask implements link.
func (p *peer) ask(slot int) {
	sequence := p.free[0]
	p.free = append(p.free[:0], p.free[1:]...)
	p.slotOf[sequence] = slot
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
	if frame.NetFn != ipmi.NetFnApp.Response() || frame.Code != ipmi.CodeOK || !p.isRight(frame.Data) {
		return nil, fmt.Errorf("not the device ID: % X", p.in[:n])
	}
	p.free = append(p.free, frame.Sequence)
	p.slots = append(p.slots[:0], p.slotOf[frame.Sequence])
	return p.slots, nil
}
