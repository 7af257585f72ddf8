package dbusapi

import (
	"encoding/binary"
	"fmt"

	"ipmbd/ipmi"
)

// The method by which requests are answered on D-Bus (phosphor-host-ipmid,
// ipmid-new.cpp).
const (
	executeInterface = "xyz.openbmc_project.Ipmi.Server"
	executeMember    = "execute"

	executeSignature  = "yyyaya{sv}"
	executedSignature = "(yyyyay)"
)

// target is an object that serves execute.
type target struct {
	title       string // for people: "host daemon"
	destination string
	path        string
	// bare: it is given no options.
	bare bool
	// wide: it takes options that the host daemon does not know.
	wide bool
}

// marshal makes a call of execute: netFn, LUN, command, data and options.
func (to *target) marshal(serial uint32, req *ipmi.Request) []byte {
	const room = 128 // bytes, more than the options with the name of a bus are
	h := wireHeader{
		kind:        wireCall,
		flags:       wireNoAutoStart,
		serial:      serial,
		path:        to.path,
		iface:       executeInterface,
		member:      executeMember,
		destination: to.destination,
		signature:   executeSignature,
	}
	b := h.marshal(len(req.Data) + room)
	b = append(b, byte(req.NetFn), byte(req.LUN), byte(req.Command))
	b = appendBytes(b, req.Data)
	return finish(to.appendOptions(b, req))
}

// appendOptions adds a dictionary a{sv}. The host daemon wants the requester's
// address in its 7-bit form, and takes int32 only.
func (to *target) appendOptions(b []byte, req *ipmi.Request) []byte {
	b = appendUint32(b, 0)
	length := len(b) - 4
	b = appendPadding(b, 8)
	if to.bare {
		return b
	}
	first := len(b)
	b = appendUint32(appendKey(b, "rqSA", "i"), uint32(req.Requester>>1))
	b = appendUint32(appendKey(b, "hostId", "i"), uint32(int32(req.Host)))
	if to.wide {
		b = append(appendKey(b, "channel", "y"), byte(req.Channel))
		b = appendString(appendKey(b, "interface", "s"), req.Interface)
		b = append(appendKey(b, "requester", "y"), byte(req.Requester))
	}
	binary.LittleEndian.PutUint32(b[length:], uint32(len(b)-first))
	return b
}

// appendKey begins an entry of a dictionary a{sv}, whose value is to be
// appended.
func appendKey(b []byte, key, signature string) []byte {
	b = appendPadding(b, 8)
	b = appendString(b, key)
	return appendSignature(b, signature)
}

// executed is how a call of execute ended.
type executed struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	response ipmi.Response
	err      error
}

// parseExecuted reads the reply to a call of execute: one struct of netFn, LUN,
// command, completion code and data; or an error. The data are a view of the message.
func parseExecuted(m *wireMessage) executed {
	if m.kind == wireError {
		if string(m.sender) != busName {
			return executed{err: peerError(string(m.errorName), m.errorText())}
		}
		return executed{err: executeError(string(m.errorName), m.errorText())}
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
		response: ipmi.Response{Code: ipmi.CompletionCode(m.body[3]), Data: data},
	}
}

// answer is the response, if it fits the request.
func (x executed) answer(to *target, req *ipmi.Request) (ipmi.Response, error) {
	if x.err != nil {
		return ipmi.Response{}, fmt.Errorf("%s: %w", to.title, x.err)
	}
	if x.netFn != req.NetFn.Response() || x.command != req.Command {
		return ipmi.Response{}, fmt.Errorf("%s: reply to %02Xh/%02Xh has netFn %02Xh and command %02Xh",
			to.title, uint8(req.NetFn), uint8(req.Command), uint8(x.netFn), uint8(x.command))
	}
	return x.response, nil
}

// executeErrors is the table from the message bus's errors to a handler's. From a
// program they say nothing: it may have executed the request, and pass on what
// it was told.
var executeErrors = map[string]error{
	"org.freedesktop.DBus.Error.ServiceUnknown": ipmi.ErrNotPresent,
	"org.freedesktop.DBus.Error.NameHasNoOwner": ipmi.ErrNotPresent,
	"org.freedesktop.DBus.Error.NoReply":        ipmi.ErrAbandoned,
	"org.freedesktop.DBus.Error.Disconnected":   ipmi.ErrAbandoned,
	"org.freedesktop.DBus.Error.LimitsExceeded": ipmi.ErrBusy,
}

func executeError(name, text string) error {
	if known, ok := executeErrors[name]; ok {
		return known
	}
	return peerError(name, text)
}

func peerError(name, text string) error { return fmt.Errorf("%s: %s", name, text) }
