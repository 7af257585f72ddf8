package dbusapi

import "bytes"

// Types of org.openbmc.Ipmb.sendRequest.
const (
	requestSignature  = "yyyyay"
	responseSignature = "(iyyyyay)"
)

// takeRequest serves the calls of org.openbmc.Ipmb.sendRequest, by far the most
// frequent message, without the D-Bus library: decoding a message and encoding
// its reply there costs more than all else that a call does. It is called from
// the reading goroutine and does not block. Whatever is not exactly such a call
// is left to the library.
func (s *Server) takeRequest(from *stream, m wireMessage) bool {
	if string(m.member) != "sendRequest" || string(m.iface) != legacyInterface ||
		string(m.path) != string(BasePath) || string(m.signature) != requestSignature || len(m.sender) == 0 {
		return false
	}
	args, ok := parseRequest(&m)
	if !ok {
		return false
	}
	args.data = bytes.Clone(args.data)
	reply := legacyReply{
		stream:      from,
		serial:      m.serial,
		destination: string(m.sender),
		unwanted:    m.flags&wireNoReply != 0,
	}
	caller, err := s.callers.enter(reply.destination)
	// Close waits for it to leave. It does so before the reply, after which its
	// caller may make another call.
	go func() {
		if err != nil {
			reply.send(legacyResponse{Status: statusOf(err)})
			return
		}
		response, err := s.exchange(caller.ctx, args)
		s.callers.leave(caller)
		if err != nil {
			response = legacyResponse{Status: statusOf(err)}
		}
		reply.send(response)
	}()
	return true
}

// requestArgs is the arguments of org.openbmc.Ipmb.sendRequest. data is a view.
type requestArgs struct {
	channel, netFn, lun, cmd byte
	data                     []byte
}

// parseRequest reads a body of the types yyyyay.
func parseRequest(m *wireMessage) (requestArgs, bool) {
	if len(m.body) < 4 {
		return requestArgs{}, false
	}
	data, ok := m.order.bytesOf(m.body[4:])
	return requestArgs{m.body[0], m.body[1], m.body[2], m.body[3], data}, ok
}

// legacyReply is where a response goes.
type legacyReply struct {
	stream      *stream
	serial      uint32 // of the call
	destination string
	unwanted    bool
}

// send sends a response. An error is that of a lost connection.
func (to legacyReply) send(r legacyResponse) {
	if !to.unwanted {
		_, _ = to.stream.Write(to.marshal(r))
	}
}

// marshal makes a method return with one struct of the types (iyyyyay).
func (to legacyReply) marshal(r legacyResponse) []byte {
	h := wireHeader{
		kind:        wireReturn,
		flags:       wireNoReply,
		serial:      to.stream.serials.GetSerial(),
		replySerial: to.serial,
		destination: to.destination,
		signature:   responseSignature,
	}
	b := h.marshal(12 + len(r.Data))
	b = appendUint32(b, uint32(r.Status))
	b = append(b, r.NetFn, r.LUN, r.Command, r.Code)
	return finish(appendBytes(b, r.Data))
}
