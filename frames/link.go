package frames

import (
	"context"
	"net"
	"slices"
	"sync"

	"ipmbd/ipmb"
)

// link is a connection of a Client. It has 64 places, as there are sequence
// numbers.
//
// The answer to a request that has failed does not say which one that was. It shows
// when as many requests to the bus are left as have failed: a link that knows of a
// failure takes no new request until then. Another link does.
type link struct {
	client *Client
	conn   net.Conn

	mu       sync.Mutex
	requests [ipmb.SequenceNumbers]*sent // without an answer so far
	failures []failure                   // of some of these
	ended    bool
}

// sent is a request that has a place on a link.
type sent struct {
	index  uint8
	frame  ipmb.Frame
	result chan result // has room for the one there is
}

// result is how a request ended.
type result struct {
	response ipmb.Frame
	err      error
}

// failure is an answer without a response.
type failure struct {
	index  uint8
	status ipmb.Status
}

// take gives a request a place, and the number of that, if there is one.
func (l *link) take(s *sent) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := slices.Index(l.requests[:], nil)
	if l.ended || len(l.failures) > 0 || number < 0 {
		return false
	}
	l.requests[number] = s
	s.frame.Sequence = uint8(number)
	return true
}

// do sends a request that has a place.
func (l *link) do(ctx context.Context, s *sent) (ipmb.Frame, error) {
	if _, err := l.conn.Write(s.frame.Append([]byte{s.index})); err != nil {
		l.conn.Close() // Hence the reader ends all requests.
	}
	select {
	case r := <-s.result:
		return r.response, r.err
	case <-ctx.Done():
		return ipmb.Frame{}, ctx.Err()
	}
}

// read takes the answers until the daemon, or the client, hangs up.
func (l *link) read() {
	b := make([]byte, answerHead+MaxFrame)
	for {
		n, err := l.conn.Read(b)
		if err != nil || !l.answered(b[:n]) {
			break
		}
		l.client.hasRoom()
	}
	l.conn.Close()
	l.client.remove(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, s := range l.requests {
		if s != nil {
			s.result <- result{err: ErrHungUp}
		}
	}
}

// answered takes an answer; false: it is none, as nothing is at the end.
func (l *link) answered(packet []byte) bool {
	if len(packet) < answerHead {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	index, status := packet[0], ipmb.Status(packet[1])
	if status == ipmb.StatusOK {
		if !l.responded(index, packet[answerHead:]) {
			return false
		}
	} else {
		l.failures = append(l.failures, failure{index, status})
	}
	l.settle(index)
	return true
}

// responded ends a request with its response; false: it is nobody's.
func (l *link) responded(index uint8, b []byte) bool {
	f, err := ipmb.Decode(b)
	if err != nil {
		return false
	}
	s := l.requests[f.Sequence]
	if s == nil || s.index != index || f.NetFn != s.frame.NetFn.Response() || f.Command != s.frame.Command ||
		f.Source != s.frame.Destination || f.Destination != s.frame.Source {
		return false
	}
	f.Data = slices.Clone(f.Data)
	l.requests[f.Sequence] = nil
	s.result <- result{response: f}
	return true
}

// settle ends the requests to a bus that have failed, if that is all there are.
func (l *link) settle(index uint8) {
	left := 0
	for _, s := range l.requests {
		if s != nil && s.index == index {
			left++
		}
	}
	failed := 0
	for _, f := range l.failures {
		if f.index == index {
			failed++
		}
	}
	if failed == 0 || failed < left {
		return
	}
	for number, s := range l.requests {
		if s == nil || s.index != index {
			continue
		}
		i := slices.IndexFunc(l.failures, func(f failure) bool { return f.index == index })
		s.result <- result{err: &StatusError{l.failures[i].status}}
		l.failures = slices.Delete(l.failures, i, i+1)
		l.requests[number] = nil
	}
}
