package main

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// The structures of include/uapi/linux/ipmi.h.
type (
	driverBody struct { // struct ipmi_msg
		netFn, command uint8
		length         uint16
		data           *byte
	}
	driverSend struct { // struct ipmi_req
		address       *driverAddress
		addressLength uint32
		id            int
		body          driverBody
	}
	driverReceive struct { // struct ipmi_recv
		kind          int32
		address       *driverAddress
		addressLength uint32
		id            int
		body          driverBody
	}
	driverAddress struct { // struct ipmi_addr; what follows is the LUN, 0
		kind    int32
		channel int16
		_       [32]byte
	}
)

// Requests of the driver: IPMICTL_SEND_COMMAND and IPMICTL_RECEIVE_MSG_TRUNC.
const (
	driverSendCommand    = driverReads | unsafe.Sizeof(driverSend{})<<16 | 13
	driverReceiveMessage = driverReads | driverWrites | unsafe.Sizeof(driverReceive{})<<16 | 11
)

// Directions, with the driver's group (include/uapi/asm-generic/ioctl.h).
const (
	driverReads  = 2<<30 | 'i'<<8
	driverWrites = 1<<30 | 'i'<<8
)

// systemInterfaceKind is IPMI_SYSTEM_INTERFACE_ADDR_TYPE.
const systemInterfaceKind = 0x0C

// sendToController sends a request without data.
func sendToController(fd, id int, netFn ipmi.NetFn, command ipmi.Command) error {
	to := driverAddress{kind: systemInterfaceKind, channel: int16(ipmi.ChannelSystemInterface)}
	s := driverSend{
		address: &to, addressLength: uint32(unsafe.Sizeof(to)), id: id,
		body: driverBody{netFn: uint8(netFn), command: uint8(command)},
	}
	return driverIoctl(fd, driverSendCommand, unsafe.Pointer(&s))
}

// receiveFromController takes the oldest message: its number and its length.
func receiveFromController(fd int, data []byte) (id, n int, err error) {
	var from driverAddress
	in := driverReceive{
		address: &from, addressLength: uint32(unsafe.Sizeof(from)),
		body: driverBody{length: uint16(len(data)), data: unsafe.SliceData(data)},
	}
	err = driverIoctl(fd, driverReceiveMessage, unsafe.Pointer(&in))
	return in.id, int(in.body.length), err
}

func driverIoctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
