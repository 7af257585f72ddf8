package dbusapi

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
)

// readBuffer holds a few hundred small messages, so that one read system call
// fetches what is there instead of three or more for each message.
const readBuffer = 16 << 10

// stream is the byte stream under a connection. Reads are buffered; each Write
// is one whole message.
type stream struct {
	sock   net.Conn
	buffer *bufio.Reader
	// take is shown each message that fits the buffer and says whether it has
	// taken it from the library. The message is valid until it returns.
	take func(s *stream, message []byte) bool
	// rest is how much of what the library is reading is left.
	rest int

	serials serials
	write   sync.Mutex
}

func newStream(sock net.Conn) *stream {
	return &stream{sock: sock, buffer: bufio.NewReaderSize(sock, readBuffer)}
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
	if first[0] != wireLittleEndian && first[0] != wireBigEndian {
		s.rest = s.buffer.Buffered()
		return nil
	}
	head, err := s.buffer.Peek(wireHeader)
	if err != nil {
		return err
	}
	length, ok := wireLength(head)
	if !ok {
		// The library says what is wrong with it, and gives up.
		length = wireHeader
	}
	if s.take != nil && ok && length <= readBuffer {
		message, err := s.buffer.Peek(length)
		if err != nil {
			return err
		}
		if s.take(s, message) {
			_, err := s.buffer.Discard(length)
			return err
		}
	}
	s.rest = length
	return nil
}

// Write sends one message.
func (s *stream) Write(b []byte) (int, error) {
	s.write.Lock()
	defer s.write.Unlock()
	return s.sock.Write(b)
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
