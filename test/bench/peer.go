package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// peer is a link whose requests come in from a bus: it is the responder's
// opposite, a node that asks the BMC for its device ID.
type peer struct {
	fd     int
	free   []uint8 // sequence numbers, the longest unused first
	slotOf [ipmb.SequenceNumbers]int
	data   [4]byte // counts, so that no request looks like a repeated one

	out   [][]byte
	in    []byte
	slots []int
}

// acceptPeer waits for the daemon at the other end of a bus.
func acceptPeer(listener int) (*peer, error) {
	if err := bePatient(listener); err != nil {
		return nil, err
	}
	fd, err := accept(listener)
	if err != nil {
		return nil, fmt.Errorf("ipmbd did not connect: %w", err)
	}
	if err := bePatient(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &peer{fd: fd, in: make([]byte, 512)}
	for i := range ipmb.SequenceNumbers {
		p.free = append(p.free, uint8(i))
	}
	return p, nil
}

func (p *peer) close() { unix.Close(p.fd) }

// ask implements link.
func (p *peer) ask(slot int) {
	sequence := p.free[0]
	p.free = append(p.free[:0], p.free[1:]...)
	p.slotOf[sequence] = slot
	binary.LittleEndian.PutUint32(p.data[:], binary.LittleEndian.Uint32(p.data[:])+1)
	p.out = append(p.out, ipmb.Frame{
		Destination: bmcAddress,
		NetFn:       ipmi.NetFnApp,
		Source:      responderAddress,
		Sequence:    sequence,
		Command:     ipmi.CommandGetDeviceID,
		Data:        p.data[:],
	}.Append(nil))
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
	if frame.NetFn != ipmi.NetFnApp.Response() || frame.Code != ipmi.CodeOK || !bytes.Equal(frame.Data, deviceID) {
		return nil, fmt.Errorf("not the device ID: % X", p.in[:n])
	}
	p.free = append(p.free, frame.Sequence)
	p.slots = append(p.slots[:0], p.slotOf[frame.Sequence])
	return p.slots, nil
}
