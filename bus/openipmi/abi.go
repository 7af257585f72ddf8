package openipmi

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// The structures of include/uapi/linux/ipmi.h. A Go int is as wide as a C long on every Linux
// port.
type (
	body struct { // struct ipmi_msg
		netFn, command uint8
		length         uint16
		data           *byte
	}
	sendArgument struct { // struct ipmi_req
		address       *byte
		addressLength uint32
		id            int
		body          body
	}
	timedSend struct { // struct ipmi_req_settime
		sendArgument
		retries   int32
		retryTime uint32 // in milliseconds
	}
	receiveArgument struct { // struct ipmi_recv
		kind          int32
		address       *byte
		addressLength uint32
		id            int
		body          body
	}
	commandArgument struct { // struct ipmi_cmdspec_chans
		netFn, command, channels uint32
	}
	channelValue struct { // struct ipmi_channel_lun_address_set
		channel uint16
		value   uint8
	}
)

// group is IPMI_IOC_MAGIC.
const group = 'i'

// Requests of the driver.
var (
	receiveMessage    = chardev.ReadWriteRequest(group, 12, unsafe.Sizeof(receiveArgument{}))
	sendTimed         = chardev.ReadRequest(group, 21, unsafe.Sizeof(timedSend{}))
	registerCommand   = chardev.ReadRequest(group, 28, unsafe.Sizeof(commandArgument{}))
	unregisterCommand = chardev.ReadRequest(group, 29, unsafe.Sizeof(commandArgument{}))
	setGetsEvents     = chardev.ReadRequest(group, 16, unsafe.Sizeof(int32(0)))
	setAddress        = chardev.ReadRequest(group, 24, unsafe.Sizeof(channelValue{}))
	getAddress        = chardev.ReadRequest(group, 25, unsafe.Sizeof(channelValue{}))
)

// Kinds of received messages.
const (
	kindResponse         = 1
	kindEvent            = 2
	kindRequest          = 3
	kindResponseResponse = 4
)

// maxMessage is IPMI_MAX_MSG_LENGTH of include/uapi/linux/ipmi_msgdefs.h.
const maxMessage = 272

// Kinds of nodes.
const (
	systemInterface = 0x0C // the management controller
	viaController   = 0x01 // on IPMB, by way of the controller
	broadcast       = 0x41
	direct          = 0x81 // on IPMB without a controller between, as ipmi_ipmb.c has it
)

// node is a structure that begins as struct ipmi_addr: an int for the kind and a short for the
// channel. The rest is the LUN for the controller, the address and the LUN on IPMB, and the
// address and the LUNs of the responder and the requester on direct IPMB.
type node struct {
	kind         int32
	channel      ipmi.Channel
	address      ipmi.Address
	lun          ipmi.LUN // of the other side; direct: the responder's
	requesterLUN ipmi.LUN // direct only
}

const (
	// nodeSize is the size of the longest structure.
	nodeSize = 12
	// nodeRoom holds each structure of the driver: struct ipmi_addr.
	nodeRoom = 40
)

// bytes is the structure, with unused bytes behind it unless it is the longest.
func (n node) bytes() [nodeSize]byte {
	var b [nodeSize]byte
	binary.NativeEndian.PutUint32(b[0:], uint32(n.kind))
	binary.NativeEndian.PutUint16(b[4:], uint16(n.channel))
	if n.kind == systemInterface {
		b[6] = byte(n.lun)
		return b
	}
	b[6], b[7] = byte(n.address), byte(n.lun)
	if n.kind == direct {
		b[8] = byte(n.requesterLUN)
	}
	return b
}

// parseNode reads a structure that was received. It returns false for an unknown kind.
func parseNode(b []byte) (node, bool) {
	if len(b) < 8 {
		return node{}, false
	}
	n := node{
		kind:    int32(binary.NativeEndian.Uint32(b[0:])),
		channel: ipmi.Channel(binary.NativeEndian.Uint16(b[4:])),
	}
	switch n.kind {
	case systemInterface:
		n.lun = ipmi.LUN(b[6])
		return n, true
	case direct:
		if len(b) < 9 {
			return node{}, false
		}
		n.requesterLUN = ipmi.LUN(b[8])
	case viaController, broadcast:
	default:
		return node{}, false
	}
	n.address, n.lun = ipmi.Address(b[6]), ipmi.LUN(b[7])
	return n, true
}

// kernel makes the driver's requests: linux, or a fake in tests. The errors are the system's.
type kernel struct {
	send func(fd int, m outgoing) error
	// receive takes the oldest message. After EMSGSIZE it is still the oldest.
	receive func(fd int, address, data []byte) (received, error)
	// register registers or unregisters a command on a set of channels.
	register   func(fd int, c ipmi.Commands, channels ipmi.ChannelMask, on bool) error
	getsEvents func(fd int, on bool) error
	setAddress func(fd int, channel ipmi.Channel, a ipmi.Address) error
	getAddress func(fd int, channel ipmi.Channel) (ipmi.Address, error)
}

// outgoing is a message to be sent. The data of a response begin with the completion code. retries
// is how many times the driver sends a request again that has no response.
type outgoing struct {
	id        int
	to        node
	netFn     ipmi.NetFn
	command   ipmi.Command
	data      []byte
	retries   int32
	retryTime uint32 // in milliseconds
}

// received is a message that was received. Address and data are views.
type received struct {
	kind    int32
	id      int
	netFn   ipmi.NetFn
	command ipmi.Command
	address []byte
	data    []byte
}

var linux = kernel{
	send: func(fd int, m outgoing) error {
		address := m.to.bytes()
		send := timedSend{
			sendArgument: sendArgument{
				address: &address[0], addressLength: nodeSize, id: m.id,
				body: body{uint8(m.netFn), uint8(m.command), uint16(len(m.data)), unsafe.SliceData(m.data)},
			},
			retries: m.retries, retryTime: m.retryTime,
		}
		return ioctl(fd, sendTimed, unsafe.Pointer(&send))
	},
	receive: func(fd int, address, data []byte) (received, error) {
		in := receiveArgument{
			address: unsafe.SliceData(address), addressLength: uint32(len(address)),
			body: body{length: uint16(len(data)), data: unsafe.SliceData(data)},
		}
		if err := ioctl(fd, receiveMessage, unsafe.Pointer(&in)); err != nil {
			return received{}, err
		}
		return received{
			kind: in.kind, id: in.id,
			netFn: ipmi.NetFn(in.body.netFn), command: ipmi.Command(in.body.command),
			address: address[:in.addressLength], data: data[:in.body.length],
		}, nil
	},
	register: func(fd int, c ipmi.Commands, channels ipmi.ChannelMask, on bool) error {
		request := unregisterCommand
		if on {
			request = registerCommand
		}
		argument := commandArgument{uint32(c.NetFn), uint32(c.Command), uint32(channels)}
		return ioctl(fd, request, unsafe.Pointer(&argument))
	},
	getsEvents: func(fd int, on bool) error {
		var argument int32
		if on {
			argument = 1
		}
		return ioctl(fd, setGetsEvents, unsafe.Pointer(&argument))
	},
	setAddress: func(fd int, channel ipmi.Channel, a ipmi.Address) error {
		argument := channelValue{uint16(channel), uint8(a)}
		return ioctl(fd, setAddress, unsafe.Pointer(&argument))
	},
	getAddress: func(fd int, channel ipmi.Channel) (ipmi.Address, error) {
		argument := channelValue{channel: uint16(channel)}
		err := ioctl(fd, getAddress, unsafe.Pointer(&argument))
		return ipmi.Address(argument.value), err
	},
}

// ioctl makes a request. What its argument points to stays where it is meanwhile.
func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	runtime.KeepAlive(argument)
	if errno != 0 {
		return errno
	}
	return nil
}
