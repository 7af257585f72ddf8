package dbusapi

import (
	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// servedPath is the object by which a client answers requests.
const servedPath = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Handler")

// executeObject is an object at servedPath whose only method is execute. It
// implements what the D-Bus library wants of objects, interfaces and methods.
type executeObject func(sender string, req *ipmi.Request) (ipmi.Response, error)

// LookupObject implements dbus.Handler.
func (o executeObject) LookupObject(path dbus.ObjectPath) (dbus.ServerObject, bool) {
	return o, path == servedPath
}

// LookupInterface implements dbus.ServerObject.
func (o executeObject) LookupInterface(name string) (dbus.Interface, bool) {
	return o, name == executeInterface
}

// LookupMethod implements dbus.Interface.
func (o executeObject) LookupMethod(name string) (dbus.Method, bool) {
	return o, name == executeMember
}

// executeCall is a call of execute.
type executeCall struct {
	sender string
	req    ipmi.Request
}

// DecodeArguments implements dbus.ArgumentDecoder.
func (o executeObject) DecodeArguments(_ *dbus.Conn, sender string, msg *dbus.Message, args []any) ([]any, error) {
	if signature, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature); signature.String() != executeSignature {
		return nil, &dbus.ErrMsgInvalidArg
	}
	return []any{&executeCall{sender: sender, req: executedRequest(args)}}, nil
}

// executedRequest is the request in the arguments of execute.
func executedRequest(args []any) ipmi.Request {
	options := args[4].(map[string]dbus.Variant)
	requester, ok := options["requester"].Value().(byte)
	if !ok {
		requester = byte(propertyOf[int32](options, "rqSA") << 1)
	}
	return ipmi.Request{
		Interface: propertyOf[string](options, "interface"),
		Channel:   ipmi.Channel(propertyOf[byte](options, "channel")),
		Host:      int(propertyOf[int32](options, "hostId")),
		Requester: ipmi.Address(requester),
		NetFn:     ipmi.NetFn(args[0].(byte)),
		LUN:       ipmi.LUN(args[1].(byte)),
		Command:   ipmi.Command(args[2].(byte)),
		Data:      args[3].([]byte),
	}
}

// executeResult is (yyyyay).
type executeResult struct {
	NetFn, LUN, Command, Code byte
	Data                      []byte
}

// Call implements dbus.Method.
func (o executeObject) Call(args ...any) ([]any, error) {
	call := args[0].(*executeCall)
	response, err := o(call.sender, &call.req)
	if err != nil {
		return nil, err
	}
	req := &call.req
	return []any{executeResult{byte(req.NetFn.Response()), byte(req.LUN), byte(req.Command), byte(response.Code), response.Data}}, nil
}

// What else dbus.Method asks for is for the library's own decoding.
func (o executeObject) NumArguments() int     { return 0 }
func (o executeObject) NumReturns() int       { return 0 }
func (o executeObject) ArgumentValue(int) any { return nil }
func (o executeObject) ReturnValue(int) any   { return nil }
