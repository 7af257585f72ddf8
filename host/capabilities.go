package host

import (
	"time"

	"ipmbd/ipmi"
)

// Commands by which a host asks for the limits of its interface (IPMI v2.0, sections 22.9 and
// 22.10).
const (
	commandGetSystemInterface ipmi.Command = 0x57
	commandGetBT              ipmi.Command = 0x36
)

// Kind is a kind of system interface.
type Kind struct {
	number byte   // in Get System Interface Capabilities
	limits []byte // the data of the response
}

// noNumber is the number of an interface that has a command of its own.
const noNumber = 0xFF

const (
	mostBytes = 255 // in the size of a message: this many or more

	ssifMultiPart = 2 << 6 // with parts in the middle; version 1, no PEC

	btOutstanding = 1
	btRetries     = 1
	// btSeconds is the time from request to response.
	btSeconds = byte((btDeadline + time.Second - 1) / time.Second)
)

// Kinds of system interfaces, with their limits. The size of a message is that of netFn and LUN,
// command and data.
var (
	KindSSIF = Kind{0, []byte{0, ssifMultiPart, ssifMaxPayload, ssifMaxPayload}}
	KindKCS  = Kind{1, []byte{0, 0, min(kcsMaxMessage, mostBytes)}}
	KindBT   = Kind{noNumber, []byte{btOutstanding, btMaxMessage, btMaxMessage, btSeconds, btRetries}}
	// KindVM is KCS: QEMU's SSIF and BT answer their commands themselves (hw/ipmi/smbus_ipmi.c and
	// ipmi_bt.c).
	KindVM = Kind{1, []byte{0, 0, min(vmMaxUnit-vmMinMessage, mostBytes)}}
)

// Handler returns a handler that answers for the interface what its limits are, and leaves all
// other requests to next. It refuses to answer for an interface of another kind: Get System
// Interface Capabilities with CCh, Get BT Interface Capabilities, which only BT has, with C1h.
func (k Kind) Handler(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		switch {
		case req.NetFn != ipmi.NetFnApp || req.LUN != 0:
			next.ServeIPMI(req, reply)
		case req.Command == commandGetSystemInterface:
			reply.Answer(k.systemInterface(req.Data), nil)
		case req.Command == commandGetBT:
			reply.Answer(k.bt(req.Data), nil)
		default:
			next.ServeIPMI(req, reply)
		}
	})
}

// systemInterface takes the number of a kind of interface.
func (k Kind) systemInterface(data []byte) ipmi.Response {
	switch {
	case len(data) != 1:
		return ipmi.Response{Code: ipmi.CodeLengthInvalid}
	case data[0] != k.number || k.number == noNumber:
		return ipmi.Response{Code: ipmi.CodeInvalidField}
	}
	return ipmi.Response{Data: k.limits}
}

func (k Kind) bt(data []byte) ipmi.Response {
	switch {
	case k.number != noNumber:
		return ipmi.Response{Code: ipmi.CodeInvalidCommand}
	case len(data) != 0:
		return ipmi.Response{Code: ipmi.CodeLengthInvalid}
	}
	return ipmi.Response{Data: k.limits}
}
