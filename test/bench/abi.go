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
	return ioctl(fd, driverSendCommand, unsafe.Pointer(&s))
}

// receiveFromController takes the oldest message: its number and its length.
func receiveFromController(fd int, data []byte) (id, n int, err error) {
	var from driverAddress
	in := driverReceive{
		address: &from, addressLength: uint32(unsafe.Sizeof(from)),
		body: driverBody{length: uint16(len(data)), data: unsafe.SliceData(data)},
	}
	err = ioctl(fd, driverReceiveMessage, unsafe.Pointer(&in))
	return in.id, int(in.body.length), err
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// Structures of include/uapi/linux/seccomp.h.
type (
	seccompNotification struct { // struct seccomp_notif
		id         uint64
		pid, flags uint32
		data       [64]byte
	}
	seccompResponse struct { // struct seccomp_notif_resp
		id           uint64
		value        int64
		error, flags int32
	}
)

// installFilter filters the system calls of this thread and of the processes that it starts, and
// returns the descriptor on which the kernel reports them (seccomp(2)).
func installFilter(filter []unix.SockFilter) (fd int, err error) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	n, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// receiveNotification takes a system call that waits.
func receiveNotification(fd int) (id uint64, err error) {
	var n seccompNotification
	err = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
	return n.id, err
}

// letGoOn ends the wait of a system call, which is made then.
func letGoOn(fd int, id uint64) error {
	r := seccompResponse{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}
