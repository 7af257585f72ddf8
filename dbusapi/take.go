package dbusapi

import (
	"bytes"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// take serves the method calls that come by a connection to its objects. The function
// is called by the reading goroutine for each call, in order of arrival, and does not
// block. Only a call without a sender is left to the D-Bus library.
func (s *Server) take(objects *objects) func(*dbuswire.Conn, *dbuswire.Message) bool {
	return func(from *dbuswire.Conn, m *dbuswire.Message) bool {
		if len(m.Sender) > 0 {
			s.takeCall(objects, from, m)
		}
		return len(m.Sender) > 0
	}
}

func (s *Server) takeCall(objects *objects, from *dbuswire.Conn, m *dbuswire.Message) {
	method, failed := objects.method(m)
	switch {
	case failed == nil && method.how == sends:
		s.startCall(from, m, method)
	case failed == nil && method.how == reads && !m.WantsReply():
		// The result would go nowhere.
	case (failed != nil || method.how == quick) && !s.backlogs.has(m.Sender):
		s.serve(&waitingCall{to: from.ReplyTo(m), objects: objects, raw: m.Raw}, string(m.Sender), method, failed)
	default:
		s.backlogs.add(from, objects, m)
	}
}

// method finds the method that is called. The error is what its caller is told.
func (o *objects) method(m *dbuswire.Message) (*boundMethod, *dbus.Error) {
	found, failed := o.named(m)
	if failed != nil {
		return nil, failed
	}
	if string(m.Signature) != found.in {
		return nil, &dbus.Error{
			Name: xml.ErrorInvalidArgs,
			Body: []any{found.member + " takes arguments of the types '" + found.in + "', not '" + string(m.Signature) + "'"},
		}
	}
	return found, nil
}

// named finds a method by path, interface and member. All paths have the methods of
// a peer.
func (o *objects) named(m *dbuswire.Message) (*boundMethod, *dbus.Error) {
	set, found := o.peer, true
	if string(m.Interface) != xml.PeerInterface {
		object := o.at(m.Path)
		if object == nil {
			failed := dbus.MakeNoObjectError(dbus.ObjectPath(m.Path))
			return nil, &failed
		}
		if len(m.Interface) == 0 {
			if method := object.anyMethod(m.Member); method != nil {
				return method, nil
			}
		}
		set, found = object.sets[string(m.Interface)]
	}
	if len(m.Interface) > 0 && !found {
		failed := dbus.MakeUnknownInterfaceError(string(m.Interface))
		return nil, &failed
	}
	method := set[string(m.Member)]
	if method == nil {
		failed := dbus.MakeUnknownMethodError(string(m.Member))
		return nil, &failed
	}
	return method, nil
}

// serve serves a call of a method that neither sends nor only reads, and replies.
// failed is why there is no such method.
func (s *Server) serve(c *waitingCall, sender string, method *boundMethod, failed *dbus.Error) {
	c.to.Destination = sender
	if failed != nil {
		c.to.Fail(failed)
		return
	}
	results, err := s.call(c, sender, method)
	if err != nil {
		results, err = method.fail(err)
	}
	if err != nil {
		c.to.Fail(asDBusError(err))
		return
	}
	c.to.Return(method.out, appendValues(nil, results))
}

// call calls a method within the limit of the sender.
func (s *Server) call(c *waitingCall, sender string, method *boundMethod) ([]any, error) {
	args, err := c.args(method)
	if err != nil {
		return nil, err
	}
	if method.object == nil { // that of a peer
		return method.serve(s.callers.base, &call{})
	}
	one := s.callers.use([]byte(sender))
	defer s.callers.unuse(one)
	if err := s.callers.enter(one); err != nil {
		return nil, err
	}
	// Before the reply, after which its caller may make another call.
	defer s.callers.leave(one)
	return method.serve(s.callers.contextOf(one), &call{server: s, object: method.object, sender: sender, caller: one, args: args})
}

// args reads the arguments of a call.
func (c *waitingCall) args(method *boundMethod) ([]any, error) {
	if method.in == "" {
		return nil, nil
	}
	msg, err := dbus.DecodeMessage(bytes.NewReader(c.raw))
	if err != nil {
		return nil, &dbus.Error{Name: xml.ErrorInvalidArgs, Body: []any{"the message cannot be read"}}
	}
	return msg.Body, nil
}
