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

// stream is the byte stream under a connection: reads are buffered, and each
// Write is one whole message.
type stream struct {
	*bufio.Reader
	sock net.Conn

	serials serials
	write   sync.Mutex
}

func newStream(sock net.Conn) *stream {
	return &stream{Reader: bufio.NewReaderSize(sock, readBuffer), sock: sock}
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
