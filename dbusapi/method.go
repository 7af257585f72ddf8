package dbusapi

import (
	"context"
	"os"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// how says how the calls of a method are served.
type how uint8

const (
	// acts: one after the other for each sender. It may block.
	acts how = iota
	// reads: the same, and it changes nothing, does not block, and does not ask who
	// calls: calls that wait may share a reply.
	reads
	// quick: it does not block, and is served by the reading goroutine while no
	// other call of its sender waits.
	quick
	// sends: the reading goroutine sends a request or a broadcast to a bus.
	sends
)

// method is one row of the table of methods. The types of a call's arguments
// are those of in before it is served.
type method struct {
	iface, member string
	in, out       string // signatures
	how           how

	serve func(context.Context, *call) ([]any, error)
	// fail makes an error of serve, or a limit of the caller, the answer.
	fail func(error) ([]any, error)

	// Of a method that sends: parse reads the arguments, of which the request's data
	// are valid until it is sent, send sends it, and reply makes the reply.
	parse func(*busCall, *dbuswire.Message) error
	send  func(*busCall) error
	reply func(*busCall, ipmi.Response, error) []byte
}

// call is a method call being served.
type call struct {
	server *Server
	object *object
	sender string
	caller *caller // the same; in use while the call is served
	args   []any
}

// methods is the table of all methods of all interfaces.
func methods() []method {
	return []method{
		{iface: xml.LegacyInterface, member: "sendRequest", in: requestSignature, out: responseSignature, how: sends,
			parse: parseLegacy, send: sendRequestOf, reply: (*busCall).replyStatus},
		{iface: xml.BusInterface, member: "sendRequest", in: requestSignature, out: "yay", how: sends,
			parse: parseRequest, send: sendRequestOf, reply: (*busCall).replyAnswer},
		{iface: xml.BusInterface, member: "sendRequestWithOptions", in: optionsSignature, out: "yay", how: sends,
			parse: parseRequestWithOptions, send: sendRequestOf, reply: (*busCall).replyAnswer},
		{iface: xml.BusInterface, member: "sendBroadcast", in: broadcastSignature, out: "", how: sends,
			parse: parseBroadcast, send: sendBroadcastOf, reply: (*busCall).replyNothing},

		plain(xml.PeerInterface, "Ping", "", "", quick, ping, errorReply),
		plain(xml.PeerInterface, "GetMachineId", "", "s", quick, machineID, errorReply),
		plain(xml.IntrospectableInterface, "Introspect", "", "s", reads, introspect, errorReply),
		plain(xml.PropertiesInterface, "Get", "ss", "v", reads, getProperty, errorReply),
		plain(xml.PropertiesInterface, "GetAll", "s", "a{sv}", reads, getAllProperties, errorReply),
		plain(xml.PropertiesInterface, "Set", "ssv", "", acts, setProperty, errorReply),
		plain(xml.ObjectManagerInterface, "GetManagedObjects", "", "a{oa{sa{sv}}}", reads, getManagedObjects, errorReply),

		plain(xml.BusInterface, "sendResponse", "tyay", "", quick, sendResponse, errorReply),
		plain(xml.BusInterface, "bind", "", "", acts, bindBus, errorReply),
		plain(xml.BusInterface, "unbind", "", "", acts, unbindBus, errorReply),

		plain(xml.SMSInterface, "setAttention", "", "", acts, setAttention, smsReply),
		plain(xml.SMSInterface, "clearAttention", "", "", acts, clearAttention, smsReply),
		plain(xml.SMSInterface, "forceAbort", "", "", acts, forceAbort, smsReply),

		plain(xml.HostIPMIInterface, "sendMessage", "yyyyyay", "x", quick, sendMessage, errnoReply),
		plain(xml.HostIPMIInterface, "setAttention", "", "x", acts, hostIPMISetAttention, errnoReply),

		plain(xml.RouterInterface, "RegisterHandler", "oa(yyuu)", "", acts, registerHandler, errorReply),
		plain(xml.RouterInterface, "UnregisterHandler", "o", "", acts, unregisterHandler, errorReply),
		plain(xml.RouterInterface, "Subscribe", "", "", acts, subscribe, errorReply),
		plain(xml.RouterInterface, "Unsubscribe", "", "", acts, unsubscribe, errorReply),
		plain(xml.RouterInterface, "SendStorageRequest", "yay", "yay", acts, sendStorageRequest, errorReply),

		plain(xml.ManagerInterface, "AddBus", "s", "o", acts, managerAddBus, errorReply),
		plain(xml.ManagerInterface, "AddHost", "s", "o", acts, managerAddHost, errorReply),
		plain(xml.ManagerInterface, "RemoveBus", "o", "", acts, managerRemoveBus, errorReply),
		plain(xml.ManagerInterface, "RemoveHost", "o", "", acts, managerRemoveHost, errorReply),
		plain(xml.ManagerInterface, "Reload", "", "", acts, managerReload, errorReply),
	}
}

// plain is a row of a method that does not send.
func plain(iface, member, in, out string, how how, serve func(context.Context, *call) ([]any, error),
	fail func(error) ([]any, error)) method {
	return method{iface: iface, member: member, in: in, out: out, how: how, serve: serve, fail: fail}
}

// errorReply answers with an error by name.
func errorReply(err error) ([]any, error) { return nil, asDBusError(err) }

// boundMethod is a method of one object, or of all: that of a peer has none.
type boundMethod struct {
	method
	object *object
}

// ping serves org.freedesktop.DBus.Peer.Ping.
func ping(context.Context, *call) ([]any, error) { return nil, nil }

// machineIDFiles is where the machine's id is (machine-id(5); D-Bus specification,
// "UUIDs").
var machineIDFiles = []string{"/etc/machine-id", "/var/lib/dbus/machine-id"}

// machineID serves org.freedesktop.DBus.Peer.GetMachineId.
func machineID(context.Context, *call) ([]any, error) {
	const length = 32 // hexadecimal digits
	for _, name := range machineIDFiles {
		if text, err := os.ReadFile(name); err == nil && len(text) >= length {
			return []any{string(text[:length])}, nil
		}
	}
	return nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.FileNotFound", Body: []any{"this machine has no id"}}
}
