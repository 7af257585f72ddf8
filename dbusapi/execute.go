package dbusapi

import (
	"bytes"
	"fmt"

	"ipmbd/ipmi"
)

// The host IPMI daemon's method (phosphor-host-ipmid, ipmid-new.cpp).
const (
	hostName      = "xyz.openbmc_project.Ipmi.Host"
	hostPath      = "/xyz/openbmc_project/Ipmi"
	hostInterface = "xyz.openbmc_project.Ipmi.Server"
	hostMember    = "execute"

	executeSignature  = "yyyaya{sv}"
	executedSignature = "(yyyyay)"
)

// marshalExecute makes a call of execute: netFn, LUN, command, data and options.
// The requester's address is in its 7-bit form, and both options are int32: the
// daemon takes no other type.
func marshalExecute(serial uint32, req *ipmi.Request) []byte {
	const options = 16 + 20 // bytes of the two
	h := wireHeader{
		kind:        wireCall,
		flags:       wireNoAutoStart,
		serial:      serial,
		path:        hostPath,
		iface:       hostInterface,
		member:      hostMember,
		destination: hostName,
		signature:   executeSignature,
	}
	b := h.marshal(16 + len(req.Data) + options)
	b = append(b, byte(req.NetFn), byte(req.LUN), byte(req.Command))
	b = appendBytes(b, req.Data)
	b = appendUint32(b, options)
	b = appendOption(b, "rqSA", int32(req.Requester>>1))
	b = appendOption(b, "hostId", int32(req.Host))
	return finish(b)
}

// appendOption adds an entry of a dictionary a{sv}.
func appendOption(b []byte, key string, value int32) []byte {
	b = appendPadding(b, 8)
	b = appendString(b, key)
	b = appendSignature(b, "i")
	return appendUint32(b, uint32(value))
}

// executed is how a call of execute ended.
type executed struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	response ipmi.Response
	err      error
}

// parseExecuted reads the reply to a call of execute: one struct of netFn, LUN,
// command, completion code and data; or an error.
func parseExecuted(m *wireMessage) executed {
	if m.kind == wireError {
		return executed{err: hostError(string(m.errorName), m.errorText())}
	}
	if string(m.signature) != executedSignature || len(m.body) < 4 {
		return executed{err: errReply}
	}
	data, ok := m.order.bytesOf(m.body[4:])
	if !ok {
		return executed{err: errReply}
	}
	return executed{
		netFn:    ipmi.NetFn(m.body[0]),
		command:  ipmi.Command(m.body[2]),
		response: ipmi.Response{Code: ipmi.CompletionCode(m.body[3]), Data: bytes.Clone(data)},
	}
}

// answer is the response, if it fits the request.
func (x executed) answer(req *ipmi.Request) (ipmi.Response, error) {
	if x.err != nil {
		return ipmi.Response{}, x.err
	}
	if x.netFn != req.NetFn.Response() || x.command != req.Command {
		return ipmi.Response{}, fmt.Errorf("host daemon: reply to %02Xh/%02Xh has netFn %02Xh and command %02Xh",
			uint8(req.NetFn), uint8(req.Command), uint8(x.netFn), uint8(x.command))
	}
	return x.response, nil
}

// hostErrors is the table from the message bus's errors to a handler's.
var hostErrors = map[string]error{
	"org.freedesktop.DBus.Error.ServiceUnknown": ipmi.ErrAbsent,
	"org.freedesktop.DBus.Error.NameHasNoOwner": ipmi.ErrAbsent,
	"org.freedesktop.DBus.Error.NoReply":        ipmi.ErrGone,
	"org.freedesktop.DBus.Error.Disconnected":   ipmi.ErrGone,
	"org.freedesktop.DBus.Error.LimitsExceeded": ipmi.ErrBusy,
}

func hostError(name, text string) error {
	if known, ok := hostErrors[name]; ok {
		return known
	}
	return fmt.Errorf("host daemon: %s: %s", name, text)
}
