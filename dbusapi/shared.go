package dbusapi

// Replies of so many bytes are shared, and so many of them at a time.
const (
	minShared = 4 << 10
	maxShared = 8
)

// sharedReplies is replies to reads, by what was asked for. A reply serves each call
// that had arrived when it was begun: all that such a caller may know of had happened
// by then. So what changes all the time, as statistics do, is right too, and a reply
// is made once for all calls that wait.
type sharedReplies map[string]sharedReply

type sharedReply struct {
	body []byte
	last uint64 // number of the last call that had arrived
}

// read serves a call that reads.
func (s *Server) read(c *waitingCall, sender string, method *boundMethod, shared sharedReplies) {
	c.to.Destination = sender
	body, err := shared.body(s, c, sender, method)
	if err != nil {
		c.to.Fail(asDBusError(err))
		return
	}
	c.to.Return(method.out, body)
}

func (r sharedReplies) body(s *Server, c *waitingCall, sender string, method *boundMethod) ([]byte, error) {
	m := c.message()
	key := method.iface + " " + method.member + " " + string(m.Path) + " " + string(m.Body)
	if err := s.callers.check(sender); err != nil {
		return nil, err
	}
	known := r[key]
	if known.last >= c.number {
		return known.body, nil
	}
	last := s.backlogs.countArrived()
	args, err := c.args(method)
	if err != nil {
		return nil, err
	}
	results, err := method.serve(s.callers.base, &call{server: s, object: method.object, sender: sender, args: args})
	if err != nil {
		return nil, err
	}
	body := appendValues(make([]byte, 0, len(known.body)+len(known.body)/8), results)
	if len(body) >= minShared {
		if len(r) >= maxShared {
			clear(r)
		}
		r[key] = sharedReply{body, last}
	}
	return body, nil
}
