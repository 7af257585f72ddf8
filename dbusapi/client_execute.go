package dbusapi

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
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

// take is shown each method call, see ConnConfig. Calls of other methods, and those that
// are too long, are left to the library.
func (s *executeServer) take(from *stream, m *wireMessage) bool {
	if string(m.path) != string(servedPath) || string(m.member) != executeMember ||
		len(m.iface) > 0 && string(m.iface) != executeInterface || m.body == nil {
		return false
	}
	reply := &executeReply{
		server:      s,
		stream:      from,
		serial:      m.serial,
		destination: string(m.sender),
		unwanted:    m.flags&wireNoReply != 0,
	}
	ok := string(m.signature) == executeSignature && parseExecute(m, &reply.req)
	switch {
	case !ok:
		reply.fail(errorInvalidArgs, "execute takes arguments of the types '"+executeSignature+"'")
	case !s.isService(reply.destination):
		reply.fail(errorAccessDenied, "only ipmbd is answered")
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
	server      *executeServer
	req         ipmi.Request
	stream      *stream
	serial      uint32 // of the call
	destination string
	unwanted    bool
	answered    atomic.Bool
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
	b := r.begin(wireHeader{kind: wireReturn, signature: executedSignature}, 8+len(res.Data))
	b = append(b, byte(r.req.NetFn.Response()), byte(r.req.LUN), byte(r.req.Command), byte(res.Code))
	r.write(appendBytes(b, res.Data))
}

// fail sends an error.
func (r *executeReply) fail(name, text string) {
	b := r.begin(wireHeader{kind: wireError, errorName: name, signature: "s"}, len(text)+8)
	r.write(appendString(b, text))
}

func (r *executeReply) begin(h wireHeader, room int) []byte {
	h.flags, h.serial, h.replySerial, h.destination = wireNoReply, r.stream.serials.GetSerial(), r.serial, r.destination
	return h.marshal(room)
}

// write sends a reply, if one is wanted. An error is that of a lost connection.
func (r *executeReply) write(b []byte) {
	if !r.unwanted {
		_, _ = r.stream.Write(finish(b))
	}
}

// parseExecute reads the arguments of execute: netFn, LUN, command, data and options. The
// request keeps nothing of the message.
func parseExecute(m *wireMessage, req *ipmi.Request) bool {
	const data = 8 // where the data begin
	if len(m.body) < data {
		return false
	}
	length := uint64(m.order.uint32(m.body[data-4:]))
	if length > uint64(len(m.body)-data) {
		return false
	}
	end := data + int(length)
	req.NetFn, req.LUN, req.Command = ipmi.NetFn(m.body[0]), ipmi.LUN(m.body[1]), ipmi.Command(m.body[2])
	req.Data = bytes.Clone(m.body[data:end])
	options, ok := m.order.optionsIn(m.body, end)
	if !ok {
		return false
	}
	req.Interface = string(options["interface"].text)
	req.Channel = ipmi.Channel(options["channel"].number)
	req.Host = int(int32(options["hostId"].number))
	req.Requester = ipmi.Address(options["rqSA"].number << 1)
	if requester, ok := options["requester"]; ok { // 00h is a system interface, whatever rqSA is.
		req.Requester = ipmi.Address(requester.number)
	}
	return true
}
