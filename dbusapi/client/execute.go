package client

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// servedPath is the object by which a client answers requests.
const servedPath = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Handler")

// executeServer answers calls of execute at servedPath. It takes them before the D-Bus
// library, which would serve them in any order.
type executeServer struct {
	handler   ipmi.Handler
	isService func(name string) bool // of a caller

	mu         sync.Mutex
	inProgress int
	closed     bool
	idle       chan struct{} // closed when it is closed and nothing is in progress
}

func newExecuteServer(h ipmi.Handler, isService func(string) bool) *executeServer {
	return &executeServer{handler: h, isService: isService, idle: make(chan struct{})}
}

// take serves calls of execute, see dbuswire.Config.Call. Calls of other methods, and those
// that are too long, are left to the library.
func (s *executeServer) take(from *dbuswire.Conn, m *dbuswire.Message) bool {
	if string(m.Path) != string(servedPath) || string(m.Member) != xml.ExecuteMember ||
		len(m.Interface) > 0 && string(m.Interface) != xml.ExecuteInterface || m.Body == nil {
		return false
	}
	reply := &executeReply{server: s, to: from.ReplyTo(m)}
	reply.to.Destination = string(m.Sender)
	ok := string(m.Signature) == xml.ExecuteIn && parseExecute(m, &reply.req)
	switch {
	case !ok:
		reply.fail(xml.ErrorInvalidArgs, "execute takes arguments of the types '"+xml.ExecuteIn+"'")
	case !s.isService(reply.to.Destination):
		reply.fail(xml.ErrorAccessDenied, "only ipmbd is answered")
	case !s.begin():
		reply.send(ipmi.Response{Code: ipmi.CodeNodeBusy})
	default:
		s.handler.ServeIPMI(&reply.req, reply)
	}
	return true
}

// begin begins a request, if there is room for it.
func (s *executeServer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.inProgress >= maxServed {
		return false
	}
	s.inProgress++
	return true
}

// end is the end of a request.
func (s *executeServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inProgress--
	if s.closed && s.inProgress == 0 {
		close(s.idle)
	}
}

// close lets no more requests in and waits for those in progress.
func (s *executeServer) close() {
	s.mu.Lock()
	if !s.closed && s.inProgress == 0 {
		close(s.idle)
	}
	s.closed = true
	s.mu.Unlock()
	<-s.idle
}

// executeReply is a call of execute and its reply. It implements ipmi.Reply.
type executeReply struct {
	server   *executeServer
	req      ipmi.Request
	to       dbuswire.ReplyTo
	answered atomic.Bool
}

// Answer implements ipmi.Reply.
func (r *executeReply) Answer(res ipmi.Response, err error) bool {
	if r.answered.Swap(true) {
		return false
	}
	if err != nil {
		res = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	r.send(res)
	r.server.end()
	return true
}

// send sends the method return: one struct of netFn, LUN, command, completion code and
// data.
func (r *executeReply) send(res ipmi.Response) {
	h := r.to.Header(xml.ExecuteOut)
	b := append(h.Begin(8+len(res.Data)), byte(r.req.NetFn.Response()), byte(r.req.LUN), byte(r.req.Command), byte(res.Code))
	r.to.Send(dbuswire.Finish(dbuswire.AppendBytes(b, res.Data)), nil)
}

// fail sends an error.
func (r *executeReply) fail(name, text string) {
	r.to.Fail(&dbus.Error{Name: name, Body: []any{text}})
}

// parseExecute reads the arguments of execute: netFn, LUN, command, data and options. The
// request keeps nothing of the message.
func parseExecute(m *dbuswire.Message, req *ipmi.Request) bool {
	r := m.Arguments()
	req.NetFn, req.LUN, req.Command = ipmi.NetFn(r.Byte()), ipmi.LUN(r.Byte()), ipmi.Command(r.Byte())
	req.Data = bytes.Clone(r.Bytes())
	isRequester := false
	err := r.Dictionary(func(key, signature string) error {
		switch {
		case len(signature) != 1:
			return ErrOtherService
		case key == "interface" && signature == "s":
			req.Interface = string(r.String())
		case key == "channel":
			req.Channel = ipmi.Channel(r.Number(signature))
		case key == "hostId":
			req.Host = int(int32(r.Number(signature)))
		case key == "requester": // 00h is a system interface, whatever rqSA is.
			req.Requester, isRequester = ipmi.Address(r.Number(signature)), true
		case key == "rqSA" && !isRequester:
			req.Requester = ipmi.Address(r.Number(signature) << 1)
		default:
			r.Skip(signature)
		}
		return nil
	})
	return err == nil && r.OK()
}
