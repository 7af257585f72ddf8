package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// frameClient is a link whose requests are packets on the frame socket. A
// request's number is its slot.
type frameClient struct {
	connection
	order
	index   uint8
	asked   [][]byte // a packet for each slot
	out     []int    // slots
	in      []byte
	slots   []int
	numbers [maxInFlight]uint32 // of the slots' requests
}

// dialFrames connects to the frame socket and prepares requests to the bus with an
// index: Get Device ID.
func (s *stage) dialFrames(socket string, index uint8) (*frameClient, error) {
	conn, err := s.dial(unix.SOCK_SEQPACKET, s.at(socket))
	c := &frameClient{connection: conn, index: index, in: make([]byte, 512)}
	for slot := range maxInFlight {
		c.asked = append(c.asked, append([]byte{index}, frameRequest(uint8(slot)).Append(nil)...))
	}
	return c, err
}

// frameRequest is Get Device ID with a number.
func frameRequest(number uint8) ipmb.Frame {
	return ipmb.Frame{
		Destination: responderAddress, NetFn: ipmi.NetFnApp, Source: clientAddress, Sequence: number, Command: ipmi.CommandGetDeviceID,
	}
}

// clientAddress is the frame client's own, which the bus does not see.
const clientAddress ipmi.Address = 0x81

// ask implements link.
func (c *frameClient) ask(slot int) {
	c.numbers[slot] = c.number()
	c.out = append(c.out, slot)
}

// send implements link.
func (c *frameClient) send() error {
	for _, slot := range c.out {
		if err := write(c.fd, c.asked[slot]); err != nil {
			return err
		}
	}
	c.out = c.out[:0]
	return nil
}

// answers implements link. It takes all that has come.
func (c *frameClient) answers() ([]int, error) {
	c.slots = c.slots[:0]
	for {
		n, err := c.receive()
		switch {
		case err == unix.EAGAIN:
			return c.slots, nil
		case err != nil:
			return nil, fmt.Errorf("frame socket: %w", err)
		}
		slot, err := c.take(c.in[:n])
		if err != nil {
			return nil, err
		}
		c.slots = append(c.slots, slot)
	}
}

// receive waits for the first packet, and takes others only if they are there.
func (c *frameClient) receive() (int, error) {
	if len(c.slots) == 0 {
		return read(c.fd, c.in)
	}
	n, _, err := unix.Recvfrom(c.fd, c.in, unix.MSG_DONTWAIT)
	return n, err
}

func (c *frameClient) take(packet []byte) (slot int, err error) {
	const head = 2 // index and status
	if len(packet) > head && packet[0] == c.index && packet[1] == 0 {
		frame, err := ipmb.Decode(packet[head:])
		if err == nil && frame.Destination == clientAddress && frame.Code == ipmi.CodeOK {
			at, err := checkDeviceID(frame.Data)
			slot := int(frame.Sequence)
			c.answered(c.numbers[slot], at)
			return slot, err
		}
	}
	return 0, fmt.Errorf("frame socket: not the device ID: % X", packet)
}
