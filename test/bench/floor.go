package main

import (
	"fmt"
	"net"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Names on D-Bus. Those of the floors are as long as the daemon's.
const (
	ipmbdName = "xyz.openbmc_project.Ipmi.Channel.Ipmb"
	floorName = "xyz.openbmc_project.Ipmi.Channel.Bare"
	echoName  = "xyz.openbmc_project.Ipmi.Channel.Echo"

	objectPath = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Channel/Ipmb")
	ipmbIface  = "org.openbmc.Ipmb"
)

// Addresses on the buses.
const (
	bmcAddress       ipmi.Address = 0x20
	responderAddress ipmi.Address = 0x2C
)

// floor is the least that a service on godbus must do for sendRequest: it sends a frame and
// returns the answer with the frame's number. It has no retries, no time-outs, no limits and no
// checks.
type floor struct {
	bus     *net.UnixConn
	numbers chan uint8 // free sequence numbers
	waiting [ipmb.SequenceNumbers]chan floorAnswer
}

// floorAnswer is the struct (iyyyyay).
type floorAnswer struct {
	Status                    int32
	NetFn, LUN, Command, Code uint8
	Data                      []byte
}

// runFloor serves on the message bus at address, with the responder behind a
// socket.
func runFloor(address, socket string) error {
	conn, err := dbus.Connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	defer bus.Close()
	f := &floor{bus: bus, numbers: make(chan uint8, ipmb.SequenceNumbers)}
	for i := range f.waiting {
		f.waiting[i] = make(chan floorAnswer, 1)
		f.numbers <- uint8(i)
	}
	methods := map[string]string{"SendRequest": "sendRequest"}
	if err := conn.ExportWithMap(f, methods, objectPath, ipmbIface); err != nil {
		return err
	}
	reply, err := conn.RequestName(floorName, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("name %s: reply %d, %v", floorName, reply, err)
	}
	sayReady()
	return f.receive()
}

// SendRequest is org.openbmc.Ipmb.sendRequest.
func (f *floor) SendRequest(_, netFn, lun, cmd uint8, data []byte) (floorAnswer, *dbus.Error) {
	number := <-f.numbers
	defer func() { f.numbers <- number }()
	frame := ipmb.Frame{
		Destination: responderAddress,
		NetFn:       ipmi.NetFn(netFn),
		Source:      bmcAddress,
		Sequence:    number,
		SourceLUN:   ipmi.LUN(lun),
		Command:     ipmi.Command(cmd),
		Data:        data,
	}
	if _, err := f.bus.Write(frame.Append(make([]byte, 0, 64))); err != nil {
		return floorAnswer{}, dbus.MakeFailedError(err)
	}
	return <-f.waiting[number], nil
}

func (f *floor) receive() error {
	b := make([]byte, 512)
	for {
		n, err := f.bus.Read(b)
		if err != nil {
			return err
		}
		frame, err := ipmb.Decode(b[:n]) // 0 bytes, if the responder has gone, are no frame
		if err != nil {
			return err
		}
		f.waiting[frame.Sequence] <- floorAnswer{
			NetFn:   uint8(frame.NetFn),
			LUN:     uint8(frame.SourceLUN),
			Command: uint8(frame.Command),
			Code:    uint8(frame.Code),
			Data:    append([]byte(nil), frame.Data...),
		}
	}
}
