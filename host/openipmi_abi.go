package host

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// The structures of include/uapi/linux/ipmi.h, as the compiler lays them out for
// C: an int has the size of a long on every Linux.
type (
	openIPMIBody struct { // struct ipmi_msg
		netFn, command uint8
		length         uint16
		data           *byte
	}
	openIPMISend struct { // struct ipmi_req
		address       *byte
		addressLength uint32
		id            int
		body          openIPMIBody
	}
	openIPMITimedSend struct { // struct ipmi_req_settime
		openIPMISend
		retries   int32
		retryTime uint32 // in milliseconds
	}
	openIPMIReceive struct { // struct ipmi_recv
		kind          int32
		address       *byte
		addressLength uint32
		id            int
		body          openIPMIBody
	}
	openIPMICommand struct { // struct ipmi_cmdspec_chans
		netFn, command, channels uint32
	}
	openIPMIChannelValue struct { // struct ipmi_channel_lun_address_set
		channel uint16
		value   uint8
	}
)

// openIPMIGroup is IPMI_IOC_MAGIC.
const openIPMIGroup = 'i'

// Requests of the driver.
var (
	openIPMIReceiveMessage = chardev.ReadWriteRequest(openIPMIGroup, 12, unsafe.Sizeof(openIPMIReceive{}))
	openIPMISendTimed      = chardev.ReadRequest(openIPMIGroup, 21, unsafe.Sizeof(openIPMITimedSend{}))
	openIPMIRegister       = chardev.ReadRequest(openIPMIGroup, 28, unsafe.Sizeof(openIPMICommand{}))
	openIPMIUnregister     = chardev.ReadRequest(openIPMIGroup, 29, unsafe.Sizeof(openIPMICommand{}))
	openIPMIGetsEvents     = chardev.ReadRequest(openIPMIGroup, 16, unsafe.Sizeof(int32(0)))
	openIPMISetAddress     = chardev.ReadRequest(openIPMIGroup, 24, unsafe.Sizeof(openIPMIChannelValue{}))
	openIPMIGetAddress     = chardev.ReadRequest(openIPMIGroup, 25, unsafe.Sizeof(openIPMIChannelValue{}))
)

// Types of received messages.
const (
	openIPMIResponse         = 1
	openIPMIEvent            = 2
	openIPMIRequest          = 3
	openIPMIResponseResponse = 4
)

// openIPMIMaxMessage is IPMI_MAX_MSG_LENGTH of include/uapi/linux/ipmi_msgdefs.h.
const openIPMIMaxMessage = 272

// Types of addresses.
const (
	openIPMISystemInterface = 0x0C
	openIPMIIPMB            = 0x01
	openIPMIBroadcast       = 0x41
	openIPMIDirect          = 0x81 // IPMB without a controller between, as ipmi_ipmb.c has it
)

// openIPMIAddress is one of the structures that begin as struct ipmi_addr does:
// an int for the type and a short for the channel; then a system interface has
// the LUN, IPMB the address and the LUN, and direct IPMB the address and the LUNs
// of the responder and of the requester. The longest has 12 bytes.
type openIPMIAddress struct {
	kind         int32
	channel      ipmi.Channel
	address      ipmi.Address
	lun          ipmi.LUN // of the other side; direct: the responder's
	requesterLUN ipmi.LUN // direct only
}

const (
	openIPMIAddressSize = 12
	// openIPMIAddressRoom holds any address of the driver's: struct ipmi_addr.
	openIPMIAddressRoom = 40
)

// bytes is the structure, longer than it has to be where it is not the longest.
func (a openIPMIAddress) bytes() [openIPMIAddressSize]byte {
	var b [openIPMIAddressSize]byte
	binary.NativeEndian.PutUint32(b[0:], uint32(a.kind))
	binary.NativeEndian.PutUint16(b[4:], uint16(a.channel))
	if a.kind == openIPMISystemInterface {
		b[6] = byte(a.lun)
		return b
	}
	b[6], b[7] = byte(a.address), byte(a.lun)
	if a.kind == openIPMIDirect {
		b[8] = byte(a.requesterLUN)
	}
	return b
}

// parseOpenIPMIAddress reads what was received; false: it is of no type here.
func parseOpenIPMIAddress(b []byte) (openIPMIAddress, bool) {
	if len(b) < 8 {
		return openIPMIAddress{}, false
	}
	a := openIPMIAddress{
		kind:    int32(binary.NativeEndian.Uint32(b[0:])),
		channel: ipmi.Channel(binary.NativeEndian.Uint16(b[4:])),
	}
	switch a.kind {
	case openIPMISystemInterface:
		a.lun = ipmi.LUN(b[6])
		return a, true
	case openIPMIDirect:
		if len(b) < 9 {
			return openIPMIAddress{}, false
		}
		a.requesterLUN = ipmi.LUN(b[8])
	case openIPMIIPMB, openIPMIBroadcast:
	default:
		return openIPMIAddress{}, false
	}
	a.address, a.lun = ipmi.Address(b[6]), ipmi.LUN(b[7])
	return a, true
}

// openIPMICalls are the requests of the driver. The errors are the system's.
type openIPMICalls struct {
	// send sends a message, of a response with the completion code before the data.
	// A request that is not answered is sent so many times more.
	send func(fd, id int, to openIPMIAddress, netFn ipmi.NetFn, command ipmi.Command, data []byte, retries int32, retryTime uint32) error
	// receive takes the oldest message. With EMSGSIZE it is still the oldest.
	receive func(fd int, address, data []byte) (openIPMIReceived, error)
	// register and unregister are for a command on a set of channels.
	register   func(fd int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error
	unregister func(fd int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error
	getsEvents func(fd int, on bool) error
	setAddress func(fd int, channel ipmi.Channel, a ipmi.Address) error
	getAddress func(fd int, channel ipmi.Channel) (ipmi.Address, error)
}

// openIPMIReceived is what was received. Address and data are views.
type openIPMIReceived struct {
	kind    int32
	id      int
	netFn   ipmi.NetFn
	command ipmi.Command
	address []byte
	data    []byte
}

// kernelOpenIPMI are the kernel's.
var kernelOpenIPMI = openIPMICalls{
	send: func(fd, id int, to openIPMIAddress, netFn ipmi.NetFn, command ipmi.Command, data []byte, retries int32, retryTime uint32) error {
		address := to.bytes()
		send := openIPMITimedSend{
			openIPMISend: openIPMISend{
				address: &address[0], addressLength: openIPMIAddressSize, id: id,
				body: openIPMIBody{uint8(netFn), uint8(command), uint16(len(data)), unsafe.SliceData(data)},
			},
			retries: retries, retryTime: retryTime,
		}
		return openIPMIIoctl(fd, openIPMISendTimed, unsafe.Pointer(&send))
	},
	receive: func(fd int, address, data []byte) (openIPMIReceived, error) {
		in := openIPMIReceive{
			address: unsafe.SliceData(address), addressLength: uint32(len(address)),
			body: openIPMIBody{length: uint16(len(data)), data: unsafe.SliceData(data)},
		}
		err := openIPMIIoctl(fd, openIPMIReceiveMessage, unsafe.Pointer(&in))
		if err != nil {
			return openIPMIReceived{}, err
		}
		return openIPMIReceived{
			kind: in.kind, id: in.id, netFn: ipmi.NetFn(in.body.netFn), command: ipmi.Command(in.body.command),
			address: address[:in.addressLength], data: data[:in.body.length],
		}, nil
	},
	register: func(fd int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error {
		argument := openIPMICommand{uint32(netFn), uint32(command), uint32(channels)}
		return openIPMIIoctl(fd, openIPMIRegister, unsafe.Pointer(&argument))
	},
	unregister: func(fd int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error {
		argument := openIPMICommand{uint32(netFn), uint32(command), uint32(channels)}
		return openIPMIIoctl(fd, openIPMIUnregister, unsafe.Pointer(&argument))
	},
	getsEvents: func(fd int, on bool) error {
		var argument int32
		if on {
			argument = 1
		}
		return openIPMIIoctl(fd, openIPMIGetsEvents, unsafe.Pointer(&argument))
	},
	setAddress: func(fd int, channel ipmi.Channel, a ipmi.Address) error {
		argument := openIPMIChannelValue{uint16(channel), uint8(a)}
		return openIPMIIoctl(fd, openIPMISetAddress, unsafe.Pointer(&argument))
	},
	getAddress: func(fd int, channel ipmi.Channel) (ipmi.Address, error) {
		argument := openIPMIChannelValue{channel: uint16(channel)}
		err := openIPMIIoctl(fd, openIPMIGetAddress, unsafe.Pointer(&argument))
		return ipmi.Address(argument.value), err
	},
}

// openIPMIIoctl makes a request. What its argument points to is kept where it is
// meanwhile, as the argument is.
func openIPMIIoctl(fd int, request uintptr, argument unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	runtime.KeepAlive(argument)
	if errno != 0 {
		return errno
	}
	return nil
}
