package dbusapi

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// readBuffer holds a few hundred small messages, so that one read system call
// fetches what is there instead of three or more for each message.
const readBuffer = 16 << 10

// stream is the byte stream under a connection. Reads are buffered; each Write
// is whole messages.
type stream struct {
	sock   net.Conn
	buffer *bufio.Reader
	// take is shown each method call and says whether it has taken it from the
	// library. The message is valid until it returns.
	take func(s *stream, call wireMessage) bool
	// pending takes the replies to calls that the library does not know of.
	pending pending
	// rest is how much of what the library is reading is left.
	rest int
	// work is full while the one who reads does anything but wait for the socket.
	work chan struct{}

	serials serials
	write   sync.Mutex
	replies replies
}

func newStream(sock net.Conn) *stream {
	s := &stream{sock: sock, work: make(chan struct{}, 1)}
	s.work <- struct{}{}
	s.buffer = bufio.NewReaderSize(fetcher{s}, readBuffer)
	return s
}

// fetcher reads from the socket.
type fetcher struct{ stream *stream }

// Read implements io.Reader.
func (f fetcher) Read(p []byte) (int, error) {
	<-f.stream.work
	defer func() { f.stream.work <- struct{}{} }()
	return f.stream.sock.Read(p)
}

// pulse returns when the one who reads waits for the socket, or when over is closed.
func (s *stream) pulse(over <-chan struct{}) {
	select {
	case s.work <- struct{}{}:
		<-s.work
	case <-over:
	}
}

// Read gives the library the messages that are not taken.
func (s *stream) Read(p []byte) (int, error) {
	for s.rest == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.buffer.Read(p[:min(len(p), s.rest)])
	s.rest -= n
	return n, err
}

// next looks at what comes next: one message, or the text of the
// authentication, no line of which begins as a message does. Nothing follows
// that text before the first message of ours.
func (s *stream) next() error {
	first, err := s.buffer.Peek(1)
	if err != nil {
		return err
	}
	if order := byteOrder(first[0]); order != littleEndian && order != bigEndian {
		s.rest = s.buffer.Buffered()
		return nil
	}
	head, err := s.buffer.Peek(wireFixed)
	if err != nil {
		return err
	}
	if head[1] == wireCall && head[2]&wireNoReply == 0 {
		s.replies.owe()
	}
	length, ok := wireLength(head)
	if !ok {
		return errLength
	}
	// What of it fits has its header.
	message, err := s.buffer.Peek(min(length, readBuffer))
	if err != nil {
		return err
	}
	if tooLong(message[1], length) {
		return s.skip(message, length)
	}
	if s.taken(message) {
		_, err := s.buffer.Discard(length)
		return err
	}
	s.rest = length
	return nil
}

// errLength: what comes is no message, and where the next one begins is unknown.
var errLength = errors.New("message of a length that D-Bus does not allow")

// taken reports whether a message is none of the library's.
func (s *stream) taken(message []byte) bool {
	m, ok := parseMessage(message)
	if !ok {
		return false
	}
	switch m.kind {
	case wireCall:
		return s.take != nil && s.take(s, m)
	case wireReturn, wireError:
		return s.pending.take(m)
	}
	return false
}

// Write sends messages: a reply alone, others in any number.
func (s *stream) Write(b []byte) (int, error) {
	s.write.Lock()
	defer s.write.Unlock()
	n, err := s.sock.Write(b)
	if len(b) > wireFixed && (b[1] == wireReturn || b[1] == wireError) {
		s.replies.give()
	}
	return n, err
}

// Close breaks the connection; it may be called more than once.
func (s *stream) Close() error { return s.sock.Close() }

// serials numbers the messages of a connection from 1. A number comes again
// after 2^32 messages; no call waits that long.
type serials struct{ last atomic.Uint32 }

// GetSerial implements dbus.SerialGenerator.
func (s *serials) GetSerial() uint32 {
	for {
		if n := s.last.Add(1); n != 0 {
			return n
		}
	}
}

// RetireSerial implements dbus.SerialGenerator.
func (s *serials) RetireSerial(uint32) {}
