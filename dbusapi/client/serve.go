package client

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

const (
	// servedPath is the object of Serve.
	servedPath = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Handler")
	// maxServed limits the requests in progress. ipmbd makes no more calls to one program.
	maxServed = xml.MaxExecutes
	// leaveTime limits the time to unregister, and the time to send the last replies.
	leaveTime = time.Second
)

// Serve makes h serve the requests that match a pattern, until ctx ends (nil) or the message bus
// is lost (ErrDisconnected). If ipmbd refuses the registration, the error is a *ServiceError; the
// text of ErrNotAllowed names the program that serves the requests. When ipmbd leaves the message
// bus, Serve waits until an ipmbd is there and registers again. It calls tell with ServiceStarted
// after each registration, the first included, and with ServiceStopped.
//
// The goroutine that reads the connection calls h, in the order of ipmbd's calls; a handler that
// may block needs ipmi.NewBlocking. At most 16 requests are in progress. They have neither
// requester's LUN nor sequence number nor deadline. An error of h becomes the completion code of
// ipmi.CodeOf.
func (c *Client) Serve(ctx context.Context, patterns []ipmi.Pattern, h ipmi.Handler, tell func(Notice)) error {
	f := newFollower(func(ipmi.Event) error { return nil }, tell)
	s := newExecuteServer(h, f.isService)
	f.call, f.leave = s.receiveCall, func() { f.leaveService(ctx, s) }
	f.register = func(service string) error {
		return f.callRouter(ctx, service, "RegisterHandler", servedPath, commandRows(patterns))
	}
	return f.followService(ctx, c)
}

// leaveService unregisters, and returns when the requests in progress have their responses. The
// end of the connection would unregister too, but requests that come before it would get no
// response.
func (f *follower) leaveService(ctx context.Context, s *executeServer) {
	if service := *f.service.Load(); service != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		_ = f.callRouter(ctx, service, "UnregisterHandler", servedPath)
		cancel()
	}
	s.drain()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	f.conn.AwaitReplies(ctx)
}

// commandRow is (yyuu), commands as they are registered.
type commandRow struct {
	NetFn, Command  byte
	Group, Channels uint32
}

func commandRows(patterns []ipmi.Pattern) []commandRow {
	rows := []commandRow{}
	for _, p := range patterns {
		rows = append(rows, commandRow{byte(p.NetFn), byte(p.Command), p.Group, uint32(p.Channels)})
	}
	return rows
}

// executeServer serves calls of execute at servedPath. It takes them before the D-Bus library,
// which would serve them in any order.
type executeServer struct {
	handler   ipmi.Handler
	isService func(name string) bool // of a caller
	places    chan struct{}          // holds a token for each request in progress
}

func newExecuteServer(h ipmi.Handler, isService func(string) bool) *executeServer {
	return &executeServer{h, isService, make(chan struct{}, maxServed)}
}

// receiveCall serves calls of execute, see dbuswire.Config.Call. It leaves other calls, and those
// that are too long, to the library.
func (s *executeServer) receiveCall(from *dbuswire.Conn, m *dbuswire.Message) bool {
	if string(m.Path) != string(servedPath) || string(m.Member) != xml.ExecuteMember ||
		len(m.Interface) > 0 && string(m.Interface) != xml.ExecuteInterface || m.Body == nil {
		return false
	}
	reply := &executeReply{server: s, to: from.ReplyTo(m)}
	reply.to.Destination = string(m.Sender)
	ok := string(m.Signature) == xml.ExecuteIn && parseExecute(m, &reply.req)
	switch {
	case !ok:
		reply.sendError(xml.ErrorInvalidArgs, "execute takes arguments of the types '"+xml.ExecuteIn+"'")
	case !s.isService(reply.to.Destination):
		reply.sendError(xml.ErrorAccessDenied, "only ipmbd may call execute")
	case !s.startRequest():
		reply.sendReturn(ipmi.Response{Code: ipmi.CodeNodeBusy})
	default:
		s.handler.ServeIPMI(&reply.req, reply)
	}
	return true
}

// startRequest reports whether there is a place for a request, and takes it.
func (s *executeServer) startRequest() bool {
	select {
	case s.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *executeServer) endRequest() { <-s.places }

// drain waits for the requests in progress and leaves no place for others.
func (s *executeServer) drain() {
	for range maxServed {
		s.places <- struct{}{}
	}
}

// executeReply is a call of execute and its reply. It implements ipmi.Reply.
type executeReply struct {
	server   *executeServer
	req      ipmi.Request
	to       dbuswire.ReplyTo
	answered atomic.Bool
}

func (r *executeReply) Answer(res ipmi.Response, err error) bool {
	if r.answered.Swap(true) {
		return false
	}
	if err != nil {
		res = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	r.sendReturn(res)
	r.server.endRequest()
	return true
}

// sendReturn sends the method return: a struct of netFn, LUN, command, completion code and data.
func (r *executeReply) sendReturn(res ipmi.Response) {
	h := r.to.Header(xml.ExecuteOut)
	b := append(h.Begin(8+len(res.Data)),
		byte(r.req.NetFn.Response()), byte(r.req.LUN), byte(r.req.Command), byte(res.Code))
	r.to.Send(dbuswire.Finish(dbuswire.AppendBytes(b, res.Data)), nil)
}

func (r *executeReply) sendError(name, text string) {
	r.to.Fail(&dbus.Error{Name: name, Body: []any{text}})
}

// parseExecute reads the arguments of execute: netFn, LUN, command, data and options. The request
// keeps no memory of the message.
func parseExecute(m *dbuswire.Message, req *ipmi.Request) bool {
	r := m.Arguments()
	req.NetFn, req.LUN, req.Command = ipmi.NetFn(r.Byte()), ipmi.LUN(r.Byte()), ipmi.Command(r.Byte())
	req.Data = bytes.Clone(r.Bytes())
	hasRequester := false
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
		case key == "requester": // 00h is a system interface, for any rqSA.
			req.Requester, hasRequester = ipmi.Address(r.Number(signature)), true
		case key == "rqSA" && !hasRequester:
			req.Requester = ipmi.Address(r.Number(signature) << 1)
		default:
			r.Skip(signature)
		}
		return nil
	})
	return err == nil && r.OK()
}
