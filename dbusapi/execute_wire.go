package dbusapi

import (
	"fmt"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
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
	h := dbuswire.Header{
		Type:        dbuswire.TypeCall,
		Flags:       dbuswire.FlagNoAutoStart,
		Serial:      serial,
		Path:        to.path,
		Interface:   xml.ExecuteInterface,
		Member:      xml.ExecuteMember,
		Destination: to.destination,
		Signature:   xml.ExecuteIn,
	}
	b := h.Begin(len(req.Data) + room)
	b = append(b, byte(req.NetFn), byte(req.LUN), byte(req.Command))
	b = dbuswire.AppendBytes(b, req.Data)
	return dbuswire.Finish(to.appendOptions(b, req))
}

// appendOptions adds a dictionary a{sv}. The host daemon wants the requester's
// address in its 7-bit form, and takes int32 only.
func (to *target) appendOptions(b []byte, req *ipmi.Request) []byte {
	b, at := dbuswire.BeginArray(b)
	if to.bare {
		return b
	}
	b = dbuswire.AppendUint32(dbuswire.AppendKey(b, "rqSA", "i"), uint32(req.Requester>>1))
	b = dbuswire.AppendUint32(dbuswire.AppendKey(b, "hostId", "i"), uint32(int32(req.Host)))
	if to.wide {
		b = append(dbuswire.AppendKey(b, "channel", "y"), byte(req.Channel))
		b = dbuswire.AppendString(dbuswire.AppendKey(b, "interface", "s"), req.Interface)
		b = append(dbuswire.AppendKey(b, "requester", "y"), byte(req.Requester))
	}
	return dbuswire.EndArray(b, at)
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
func parseExecuted(m *dbuswire.Message) executed {
	if m.Type == dbuswire.TypeError {
		if string(m.Sender) != dbuswire.BusName {
			return executed{err: peerError(string(m.ErrorName), m.ErrorText())}
		}
		return executed{err: executeError(string(m.ErrorName), m.ErrorText())}
	}
	if string(m.Signature) != xml.ExecuteOut {
		return executed{err: dbuswire.ErrReply}
	}
	r := m.Arguments()
	x := executed{netFn: ipmi.NetFn(r.Byte())}
	r.Byte() // LUN
	x.command, x.response.Code = ipmi.Command(r.Byte()), ipmi.CompletionCode(r.Byte())
	if x.response.Data = r.Bytes(); !r.AtEnd() {
		return executed{err: dbuswire.ErrReply}
	}
	return x
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
