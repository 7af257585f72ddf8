package dbusapi

import "bytes"

// takeRequest serves the calls of org.openbmc.Ipmb.sendRequest, by far the most
// frequent message, without the D-Bus library: decoding a message and encoding
// its reply there costs more than all else that a call does. It is called from
// the reading goroutine and does not block. Whatever is not exactly such a call
// is left to the library.
func (s *Server) takeRequest(from *stream, message []byte) bool {
	m, ok := parseCall(message)
	if !ok || string(m.member) != "sendRequest" || string(m.iface) != legacyInterface ||
		string(m.path) != string(BasePath) || string(m.signature) != requestSignature || len(m.sender) == 0 {
		return false
	}
	args, ok := parseRequest(m.body)
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

// legacyReply is where a response goes.
type legacyReply struct {
	stream      *stream
	serial      uint32 // of the call
	destination string
	unwanted    bool
}

// send sends a response. An error is that of a lost connection.
func (to legacyReply) send(r legacyResponse) {
	if to.unwanted {
		return
	}
	b := make([]byte, 0, 128+len(r.Data))
	b = appendReply(b, to.stream.serials.GetSerial(), to.serial, to.destination, r)
	_, _ = to.stream.Write(b)
}
