package frames

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// maxLinks is how many connections a Client has at most. One carries 64 requests at a time.
const maxLinks = 4

var (
	// ErrHungUp: the daemon has gone, or has closed the connection. The daemon may
	// have sent the request.
	ErrHungUp = errors.New("the daemon has hung up")
	// ErrClientClosed: Close was called.
	ErrClientClosed = errors.New("client closed")
)

// StatusError is the error of a request without a response.
type StatusError struct{ Status ipmb.Status }

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %v", e.Status, e.Status) }

// Client sends requests through the frame socket of a daemon. Its methods may be called from
// several goroutines at once. When the daemon has restarted, the next request connects again.
type Client struct {
	path    string
	places  chan struct{} // holds one for each request in progress
	dialing chan struct{} // holds one while a request dials
	readers sync.WaitGroup

	mu     sync.Mutex
	links  []*link
	closed bool
}

// Dial connects to the socket of the daemon at a path.
func Dial(ctx context.Context, path string) (*Client, error) {
	places := make(chan struct{}, maxLinks*ipmb.SequenceNumbers)
	c := &Client{path: path, places: places, dialing: make(chan struct{}, 1)}
	if _, err := c.dial(ctx, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connections. Requests in progress end with ErrHungUp, further ones with
// ErrClientClosed.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	links := slices.Clone(c.links)
	c.mu.Unlock()
	for _, l := range links {
		l.conn.Close()
	}
	c.readers.Wait()
}

// Do sends a request to the bus with an index, which is devIndex<<2 | type, and waits for the
// response until ctx ends; the request itself goes on. The Client chooses the sequence number. The
// data of the response belong to the caller. It returns StatusError, ErrHungUp, ErrClientClosed,
// and errors of ctx and of connecting.
func (c *Client) Do(ctx context.Context, index uint8, request ipmb.Frame) (ipmb.Frame, error) {
	switch {
	case request.NetFn > ipmi.MaxNetFn || request.NetFn.IsResponse():
		return ipmb.Frame{}, &StatusError{ipmb.StatusInvalid}
	case request.Len() > MaxFrame:
		return ipmb.Frame{}, &StatusError{ipmb.StatusTooLong}
	}
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return ipmb.Frame{}, ctx.Err()
	}
	s := &sent{index: index, frame: request, result: make(chan result, 1)}
	l, err := c.linkFor(ctx, s)
	if err != nil {
		<-c.places
		return ipmb.Frame{}, err
	}
	if _, err := l.conn.Write(s.frame.Append([]byte{index})); err != nil {
		l.conn.Close() // Then the reader ends all requests.
	}
	select {
	case r := <-s.result:
		return r.response, r.err
	case <-ctx.Done():
		return ipmb.Frame{}, ctx.Err()
	}
}

// linkFor gives a request a number on a link: on an existing one, or on one that it dials. One
// request dials at a time. As there are places for maxLinks links, there are no more of them.
func (c *Client) linkFor(ctx context.Context, s *sent) (*link, error) {
	if l, err := c.addToLink(s); l != nil || err != nil {
		return l, err
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l, err := c.addToLink(s); l != nil || err != nil {
		return l, err // Another request has dialled, or has given its number back.
	}
	return c.dial(ctx, s)
}

// addToLink gives a request a number on an existing link. It returns nil if all are in use.
func (c *Client) addToLink(s *sent) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClientClosed
	}
	for _, l := range c.links {
		if number := slices.Index(l.requests[:], nil); number >= 0 {
			l.assignNumber(number, s)
			return l, nil
		}
	}
	return nil, nil
}

// dial makes a link, and gives a request, if any, a number on it.
func (c *Client) dial(ctx context.Context, s *sent) (*link, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, c.path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return nil, ErrClientClosed
	}
	l := &link{client: c, conn: conn}
	if s != nil {
		l.assignNumber(0, s)
	}
	c.links = append(c.links, l)
	c.readers.Go(l.readAnswers)
	return l, nil
}

// link is a connection of a Client. It has 64 numbers, as there are sequence numbers, which tell
// its requests apart.
type link struct {
	client   *Client
	conn     net.Conn
	requests [ipmb.SequenceNumbers]*sent // without an answer so far; guarded by the client's mutex
}

// sent is a request that has a number on a link.
type sent struct {
	index  uint8
	frame  ipmb.Frame
	result chan result // has room for one
}

// result is how a request ended.
type result struct {
	response ipmb.Frame
	err      error
}

// readAnswers reads answers until the daemon or the client closes the connection.
func (l *link) readAnswers() {
	b := make([]byte, answerHead+MaxFrame)
	for {
		n, err := l.conn.Read(b)
		if err != nil || !l.handleAnswer(b[:n]) {
			break
		}
	}
	l.conn.Close()
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links = slices.DeleteFunc(c.links, func(other *link) bool { return other == l })
	for _, s := range l.requests {
		if s != nil {
			l.endRequest(s, result{err: ErrHungUp})
		}
	}
}

// handleAnswer ends the request that an answer is for. It returns false for a packet that is no
// answer to a request, such as the empty packet at the end of the connection.
func (l *link) handleAnswer(packet []byte) bool {
	if len(packet) < answerHead {
		return false
	}
	index, status, b := packet[0], ipmb.Status(packet[1]), packet[answerHead:]
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	if status != ipmb.StatusOK {
		return l.handleFailure(index, status, b)
	}
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
	l.endRequest(s, result{response: f})
	return true
}

// handleFailure ends the request whose frame begins with head. It returns false for no request.
func (l *link) handleFailure(index uint8, status ipmb.Status, head []byte) bool {
	if len(head) != headBytes {
		return false
	}
	s := l.requests[head[4]>>2]
	if s == nil || s.index != index || !bytes.Equal(s.frame.Append(nil)[:headBytes], head) {
		return false
	}
	l.endRequest(s, result{err: &StatusError{status}})
	return true
}

// assignNumber gives a request a number.
func (l *link) assignNumber(number int, s *sent) {
	l.requests[number] = s
	s.frame.Sequence = uint8(number)
}

// endRequest gives a request its result, and gives its number and its place back.
func (l *link) endRequest(s *sent, r result) {
	l.requests[s.frame.Sequence] = nil
	<-l.client.places
	s.result <- r
}
