package main

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// peer is a link whose requests are frames, one a packet, and always the same except for their
// number: requests of a node that asks the BMC on a bus, or of a client of the frame socket.
type peer struct {
	connection
	order
	request ipmb.Frame
	// prefix is the frame socket's header of a request, head its header of a response.
	prefix, head []byte
	// arrival checks the data of an answer to a request, and returns the number of its arrival in
	// them; if an answer has none, it returns the request's own number.
	arrival  func(data []byte, request uint32) (at uint32, err error)
	free     []uint8 // sequence numbers, the longest unused first
	packets  [ipmb.SequenceNumbers][]byte
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
		request: deviceIDRequest(bmcAddress, responderAddress),
		arrival: func(data []byte, _ uint32) (uint32, error) { return checkDeviceID(data) },
	}
}

// asksFrames is a client of the frame socket that asks the responder on the bus with an index.
func asksFrames(index uint8) *peer {
	const own = 0x81 // which the bus does not see
	p := asksDeviceID()
	p.request = deviceIDRequest(responderAddress, own)
	p.prefix, p.head = []byte{index}, []byte{index, 0}
	return p
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
	p := asksDeviceID()
	p.request.Command = sendMessage
	p.request.Data = deviceIDRequest(responderAddress, bmcAddress).Append([]byte{tracked | channel})
	// It has the node's answer in it, and the checksum of that last.
	p.arrival = func(data []byte, _ uint32) (uint32, error) {
		begin := max(bytes.Index(data, deviceID), 0)
		return checkDeviceID(data[begin:max(len(data)-1, begin)])
	}
	return p
}

func deviceIDRequest(responder, requester ipmi.Address) ipmb.Frame {
	return ipmb.Frame{Destination: responder, NetFn: ipmi.NetFnApp, Source: requester, Command: ipmi.CommandGetDeviceID}
}

// open prepares the requests of a peer on a connection.
func (p *peer) open(conn connection) {
	p.connection, p.in = conn, make([]byte, 512)
	for i := range p.packets {
		p.free = append(p.free, uint8(i))
		p.request.Sequence = uint8(i)
		p.packets[i] = p.request.Append(bytes.Clone(p.prefix))
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
	p.open(connection{fd})
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
	p.out = append(p.out, p.packets[sequence])
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

// answers implements link. It waits for one answer, and takes all that are there.
func (p *peer) answers() ([]int, error) {
	p.slots = p.slots[:0]
	n, err := read(p.fd, p.in)
	for err == nil {
		if err := p.take(p.in[:n]); err != nil {
			return nil, fmt.Errorf("answer % X: %w", p.in[:n], err)
		}
		n, _, err = unix.Recvfrom(p.fd, p.in, unix.MSG_DONTWAIT)
	}
	if err != unix.EAGAIN {
		return nil, fmt.Errorf("peer of ipmbd: %w", err)
	}
	return p.slots, nil
}

// take checks an answer. C0h, busy, is a refusal.
func (p *peer) take(packet []byte) error {
	frame, ok := bytes.CutPrefix(packet, p.head)
	answer, err := ipmb.Decode(frame)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("not a frame: %v", err)
	case answer.NetFn != ipmi.NetFnApp.Response():
		return errors.New("not of the network function")
	}
	p.free = append(p.free, answer.Sequence)
	p.slots = append(p.slots, p.slotOf[answer.Sequence])
	switch answer.Code {
	case ipmi.CodeNodeBusy:
		p.refused++
		return nil
	case ipmi.CodeOK:
		request := p.numberOf[answer.Sequence]
		at, err := p.arrival(answer.Data, request)
		if err == nil {
			p.answered(request, at)
		}
		return err
	}
	return fmt.Errorf("completion code %v", answer.Code)
}

// tally implements link.
func (p *peer) tally() tally { return tally{p.found, p.refused} }
