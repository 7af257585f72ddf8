package frames

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"

	"ipmbd/ipmb"
)

// link is a connection of a Client. It has 64 places, as there are sequence numbers,
// which tell its requests apart.
type link struct {
	client *Client
	conn   net.Conn

	mu       sync.Mutex
	requests [ipmb.SequenceNumbers]*sent // without an answer so far
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

// take gives a request a place, and the number of that, if there is one.
func (l *link) take(s *sent) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := slices.Index(l.requests[:], nil)
	if l.ended || number < 0 {
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

// answered takes an answer. It returns false for a packet that is none, as the empty one at
// the end of the connection.
func (l *link) answered(packet []byte) bool {
	if len(packet) < answerHead {
		return false
	}
	index, status, frame := packet[0], ipmb.Status(packet[1]), packet[answerHead:]
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != ipmb.StatusOK {
		return l.failed(index, status, frame)
	}
	return l.responded(index, frame)
}

// responded ends a request with its response. It returns false if no request has it.
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
	l.end(s, result{response: f})
	return true
}

// failed ends the request whose frame begins with head. It returns false if there is none.
func (l *link) failed(index uint8, status ipmb.Status, head []byte) bool {
	if len(head) != headBytes {
		return false
	}
	s := l.requests[head[4]>>2]
	if s == nil || s.index != index || !bytes.Equal(s.frame.Append(nil)[:headBytes], head) {
		return false
	}
	l.end(s, result{err: &StatusError{status}})
	return true
}

// end gives a request its result, and its place back.
func (l *link) end(s *sent, r result) {
	l.requests[s.frame.Sequence] = nil
	s.result <- r
}
