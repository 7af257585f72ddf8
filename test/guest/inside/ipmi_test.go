package inside

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipmiUser is a user of the kernel's IPMI device (include/uapi/linux/ipmi.h).
type ipmiUser struct{ fd int }

// The structures of ipmi.h, as the compiler lays them out for C.
type (
	ipmiMessage struct {
		netFn, cmd byte
		length     uint16
		data       *byte
	}
	ipmiRequest struct { // struct ipmi_req
		address       *byte
		addressLength uint32
		id            int // a C long
		message       ipmiMessage
	}
	ipmiReceived struct { // struct ipmi_recv
		kind          int32
		address       *byte
		addressLength uint32
		id            int
		message       ipmiMessage
	}
	ipmiCommand struct{ netFn, cmd byte } // struct ipmi_cmdspec
)

// receivedCommand is the kind of a request that was received
// (IPMI_CMD_RECV_TYPE).
const receivedCommand = 3

// Requests of the device.
var (
	ipmiReceive  = ioctlNumber(read|write, 11, unsafe.Sizeof(ipmiReceived{}))
	ipmiSend     = ioctlNumber(read, 13, unsafe.Sizeof(ipmiRequest{}))
	ipmiRegister = ioctlNumber(read, 14, unsafe.Sizeof(ipmiCommand{}))
)

// Directions of a request (include/uapi/asm-generic/ioctl.h).
const (
	write = 1
	read  = 2
)

func ioctlNumber(direction, number, size uintptr) uintptr {
	return direction<<30 | size<<16 | 'i'<<8 | number
}

func openIPMI(t *testing.T, path string) ipmiUser {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return ipmiUser{fd}
}

func (u ipmiUser) ioctl(number uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u.fd), number, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// register asks for the requests of a command.
func (u ipmiUser) register(t *testing.T, netFn, cmd byte) {
	t.Helper()
	command := ipmiCommand{netFn, cmd}
	if err := u.ioctl(ipmiRegister, unsafe.Pointer(&command)); err != nil {
		t.Fatalf("register: %v", err)
	}
}

// echo answers all requests with their data until the test ends.
func (u ipmiUser) echo(t *testing.T) {
	var ended sync.WaitGroup
	ended.Go(func() {
		var address, data [300]byte
		var pinner runtime.Pinner
		pinner.Pin(&address)
		pinner.Pin(&data)
		defer pinner.Unpin()
		for t.Context().Err() == nil {
			if err := u.answer(&address, &data); err != nil {
				t.Errorf("/dev/ipmi0: %v", err)
				return
			}
		}
	})
	t.Cleanup(ended.Wait)
}

// answer waits a moment for a message from the device, and answers it if it is a request: with
// completion code 0 and its data.
func (u ipmiUser) answer(address, data *[300]byte) error {
	const moment = 100 // ms
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLIN}}, moment)
	if n == 0 || err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	// The completion code goes before the data.
	in := ipmiReceived{address: &address[0], addressLength: uint32(len(address)),
		message: ipmiMessage{data: &data[1], length: uint16(len(data) - 1)}}
	if err := u.ioctl(ipmiReceive, unsafe.Pointer(&in)); err != nil || in.kind != receivedCommand {
		return err
	}
	data[0] = 0
	out := ipmiRequest{address: &address[0], addressLength: in.addressLength, id: in.id,
		message: ipmiMessage{netFn: in.message.netFn | 1, cmd: in.message.cmd, data: &data[0], length: in.message.length + 1}}
	return u.ioctl(ipmiSend, unsafe.Pointer(&out))
}
