package frames

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// maxLinks is how many connections a Client has at most. One does for 64 requests at a
// time.
const maxLinks = 4

var (
	// ErrHungUp: the daemon has gone, or has hung up. What has become of the
	// request is not known.
	ErrHungUp = errors.New("the daemon has hung up")
	// ErrClientClosed: Close was called.
	ErrClientClosed = errors.New("client closed")
)

// StatusError is a request that ended without an answer.
type StatusError struct{ Status ipmb.Status }

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %v", e.Status, e.Status) }

// Client sends requests through a daemon's frame socket. Its methods may be called
// from several goroutines at once.
type Client struct {
	path    string
	readers sync.WaitGroup

	mu      sync.Mutex
	links   []*link
	dialing int // links to come
	closed  bool
	changed chan struct{} // closed, and made anew, when a request may find a place
}

// Dial connects to the daemon's socket at a path.
func Dial(ctx context.Context, path string) (*Client, error) {
	c := &Client{path: path, changed: make(chan struct{}), dialing: 1}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close hangs up. Requests in progress end with ErrHungUp, further ones with
// ErrClientClosed.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	links := slices.Clone(c.links)
	c.tell()
	c.mu.Unlock()
	for _, l := range links {
		l.conn.Close()
	}
	c.readers.Wait()
}

// Do sends a request to the bus with an index and waits for the response, at most
// until ctx ends; the request itself goes on. Its sequence number is the Client's
// choice. Data of the response belongs to the caller. The errors are StatusError,
// ErrHungUp, ErrClientClosed, and those of ctx and of connecting.
func (c *Client) Do(ctx context.Context, index uint8, request ipmb.Frame) (ipmb.Frame, error) {
	switch {
	case request.NetFn > ipmi.MaxNetFn || request.NetFn.IsResponse():
		return ipmb.Frame{}, &StatusError{ipmb.StatusInvalid}
	case request.Len() > MaxFrame:
		return ipmb.Frame{}, &StatusError{ipmb.StatusTooLong}
	}
	s := &sent{index: index, frame: request, result: make(chan result, 1)}
	l, err := c.place(ctx, s)
	if err != nil {
		return ipmb.Frame{}, err
	}
	return l.do(ctx, s)
}

// place gives a request a place on a link: one that there is, one that is dialled,
// or the next one that has a place.
func (c *Client) place(ctx context.Context, s *sent) (*link, error) {
	for {
		c.mu.Lock()
		if i := slices.IndexFunc(c.links, func(l *link) bool { return l.take(s) }); i >= 0 {
			defer c.mu.Unlock()
			return c.links[i], nil
		}
		closed, changed := c.closed, c.changed
		dial := !closed && len(c.links)+c.dialing < maxLinks
		if dial {
			c.dialing++
		}
		c.mu.Unlock()
		switch {
		case closed:
			return nil, ErrClientClosed
		case dial:
			if err := c.connect(ctx); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// connect adds a link, which was counted as one to come.
func (c *Client) connect(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, c.path)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing--
	c.tell()
	switch {
	case err != nil:
		return err
	case c.closed:
		conn.Close()
		return ErrClientClosed
	}
	l := &link{client: c, conn: conn}
	c.links = append(c.links, l)
	c.readers.Go(l.read)
	return nil
}

// remove forgets a link that has ended.
func (c *Client) remove(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links = slices.DeleteFunc(c.links, func(other *link) bool { return other == l })
	c.tell()
}

// hasRoom is told by a link that has a place again.
func (c *Client) hasRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell()
}

// tell wakes those that wait for a place.
func (c *Client) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}
