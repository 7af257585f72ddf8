package dbusapi

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// method is one row of the table of methods. The types of a call's arguments
// are those of in before serve runs.
type method struct {
	iface, member string
	in, out       string // signatures
	serve         func(context.Context, *call) ([]any, error)
	// fail makes an error of serve, or a limit of the caller, the answer.
	fail func(error) ([]any, error)
}

// call is a method call being served.
type call struct {
	server *Server
	object *object
	sender string
	args   []any
}

// methods is the table of all methods of all interfaces, but
// org.freedesktop.DBus.Peer, which the D-Bus library serves itself.
func methods() []method {
	return []method{
		{introspectableInterface, "Introspect", "", "s", introspect, errorReply},
		{propertiesInterface, "Get", "ss", "v", getProperty, errorReply},
		{propertiesInterface, "GetAll", "s", "a{sv}", getAllProperties, errorReply},
		{propertiesInterface, "Set", "ssv", "", setProperty, errorReply},
		{objectManagerInterface, "GetManagedObjects", "", "a{oa{sa{sv}}}", getManagedObjects, errorReply},

		{legacyInterface, "sendRequest", "yyyyay", "(iyyyyay)", legacySendRequest, statusReply},

		{busObjectInterface, "sendRequest", "yyyyay", "yay", sendRequest, errorReply},
		{busObjectInterface, "sendRequestWithOptions", "yyyyaya{sv}", "yay", sendRequestWithOptions, errorReply},
		{busObjectInterface, "sendBroadcast", "yyyay", "", sendBroadcast, errorReply},
		{busObjectInterface, "sendResponse", "tyay", "", sendResponse, errorReply},
		{busObjectInterface, "bind", "", "", bindBus, errorReply},
		{busObjectInterface, "unbind", "", "", unbindBus, errorReply},

		{smsInterface, "setAttention", "", "", setAttention, smsReply},
		{smsInterface, "clearAttention", "", "", clearAttention, smsReply},
		{smsInterface, "forceAbort", "", "", forceAbort, smsReply},

		{hostIPMIInterface, "sendMessage", "yyyyyay", "x", sendMessage, errnoReply},
		{hostIPMIInterface, "setAttention", "", "x", hostIPMISetAttention, errnoReply},

		{routerInterface, "RegisterHandler", "oa(yyuu)", "", registerHandler, errorReply},
		{routerInterface, "UnregisterHandler", "o", "", unregisterHandler, errorReply},
		{routerInterface, "Subscribe", "", "", subscribe, errorReply},
		{routerInterface, "Unsubscribe", "", "", unsubscribe, errorReply},
		{routerInterface, "SendStorageRequest", "yay", "yay", sendStorageRequest, errorReply},

		{managerInterface, "AddBus", "s", "o", managerAddBus, errorReply},
		{managerInterface, "AddHost", "s", "o", managerAddHost, errorReply},
		{managerInterface, "RemoveBus", "o", "", managerRemoveBus, errorReply},
		{managerInterface, "RemoveHost", "o", "", managerRemoveHost, errorReply},
		{managerInterface, "Reload", "", "", managerReload, errorReply},
	}
}

// errorReply answers with an error by name.
func errorReply(err error) ([]any, error) { return nil, asDBusError(err) }

// boundMethod is a method of one object. It implements dbus.Method, and
// dbus.ArgumentDecoder so that arguments are taken as they are, without
// reflection.
type boundMethod struct {
	method
	object *object
}

// DecodeArguments checks the types of the arguments.
func (m *boundMethod) DecodeArguments(_ *dbus.Conn, sender string, msg *dbus.Message, args []any) ([]any, error) {
	signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	if signature.String() != m.in {
		return nil, &dbus.Error{
			Name: "org.freedesktop.DBus.Error.InvalidArgs",
			Body: []any{m.member + " takes arguments of the types '" + m.in + "', not '" + signature.String() + "'"},
		}
	}
	return []any{&call{server: m.object.server, object: m.object, sender: sender, args: args}}, nil
}

// Call serves a call that DecodeArguments has made.
func (m *boundMethod) Call(args ...any) ([]any, error) {
	c := args[0].(*call)
	caller, err := c.server.callers.enter(c.sender)
	if err != nil {
		return m.fail(err)
	}
	defer c.server.callers.leave(caller)
	results, err := m.serve(caller.ctx, c)
	if err != nil {
		return m.fail(err)
	}
	return results, nil
}

// What else dbus.Method asks for is for the library's own decoding.
func (m *boundMethod) NumArguments() int     { return 0 }
func (m *boundMethod) NumReturns() int       { return 0 }
func (m *boundMethod) ArgumentValue(int) any { return nil }
func (m *boundMethod) ReturnValue(int) any   { return nil }
