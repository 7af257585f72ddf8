package dbusapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// readBuffer holds a few hundred small messages, so that one read system call
// fetches what is there instead of three or more for each message.
const readBuffer = 16 << 10

// maxUnsent is how many bytes may wait to be written before a call is read. More
// calls wait in the socket's buffer, and with the message bus.
const maxUnsent = 1 << 20

// stream is the byte stream under a connection. Reads are buffered; each Write
// is whole messages.
type stream struct {
	sock   io.ReadCloser
	buffer *bufio.Reader
	// take is shown each method call and says whether it has taken it from the
	// library. The message is valid until it returns.
	take func(s *stream, call *wireMessage) bool
	// pending takes the replies to calls that the library does not know of.
	pending pending
	// rest is how much of what the library is reading is left, and held what of it
	// is not in the buffer any more.
	rest int
	held []byte
	// work holds a token while the reader does anything but wait for a socket.
	work chan struct{}

	serials serials
	out     *outbox
	replies replies
	// holds: what is sent while calls are read waits for the last one that is here,
	// so that one write sends it all.
	holds bool
}

func newStream(sock io.ReadCloser) *stream {
	s := &stream{sock: sock, work: make(chan struct{}, 1)}
	s.work <- struct{}{}
	s.buffer = bufio.NewReaderSize(fetcher{s}, readBuffer)
	return s
}

// fetcher reads from the socket.
type fetcher struct{ stream *stream }

// Read implements io.Reader.
func (f fetcher) Read(p []byte) (int, error) {
	f.stream.flush()
	<-f.stream.work
	defer func() { f.stream.work <- struct{}{} }()
	return f.stream.sock.Read(p)
}

// pulse returns when the reader waits for the socket, or when over is closed.
func (s *stream) pulse(over <-chan struct{}) {
	select {
	case s.work <- struct{}{}:
		<-s.work
	case <-over:
	}
}

// Read gives the library the messages that are not taken.
func (s *stream) Read(p []byte) (int, error) {
	for s.rest == 0 && len(s.held) == 0 {
		if err := s.next(); err != nil {
			s.flush() // There is no next read to do it.
			return 0, err
		}
	}
	if len(s.held) > 0 {
		n := copy(p, s.held)
		s.held = s.held[n:]
		return n, nil
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
	kind := head[1]
	length, ok := wireLength(head)
	if !ok {
		return errLength
	}
	if kind == wireCall {
		s.awaitRoom()
		if head[2]&wireNoReply == 0 {
			s.replies.owe()
		}
	}
	// What of it fits has its header.
	message, err := s.buffer.Peek(min(length, readBuffer))
	switch {
	case err != nil:
		return err
	case tooLong(kind, length):
		return s.skip(message, length)
	case kind == wireCall && s.take != nil:
		return s.nextCall(message, length)
	case kind == wireReturn || kind == wireError:
		if m, ok := parseMessage(message); ok && s.pending.take(m) {
			_, err := s.buffer.Discard(length)
			return err
		}
	}
	s.rest = length
	return nil
}

// nextCall has a call taken, of which the first bytes are here.
func (s *stream) nextCall(message []byte, length int) error {
	fits := length == len(message)
	if !fits {
		message = make([]byte, length)
		if _, err := io.ReadFull(s.buffer, message); err != nil {
			return err
		}
	}
	m, ok := parseMessage(message)
	m.own = !fits
	if fits && s.buffer.Buffered() > length && !s.holds {
		s.holds = s.out.hold()
	}
	taken := ok && s.take(s, &m)
	switch {
	case taken && fits:
		_, err := s.buffer.Discard(length)
		return err
	case fits:
		s.rest = length
	case !taken:
		s.held = message
	}
	return nil
}

// flush sends what hold has kept.
func (s *stream) flush() {
	if s.holds {
		s.holds = false
		s.out.flush()
	}
}

// awaitRoom waits while much waits to be written: calls may each add a reply.
func (s *stream) awaitRoom() {
	if s.out == nil {
		return
	}
	if s.out.has(maxGather) {
		s.flush()
	}
	if !s.out.has(maxUnsent) {
		return
	}
	<-s.work
	s.out.await(maxUnsent)
	s.work <- struct{}{}
}

// errLength: what comes is no message, and where the next one begins is unknown.
var errLength = errors.New("message of a length that D-Bus does not allow")

// Write sends messages: a reply alone, others in any number. It does not block.
func (s *stream) Write(b []byte) (int, error) {
	reply := len(b) > wireFixed && (b[1] == wireReturn || b[1] == wireError)
	if err := s.out.send(outgoing{head: bytes.Clone(b), reply: reply}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send sends a message that is no reply, or several, which belong to the stream from
// then on. It does not block.
func (s *stream) send(b []byte) error { return s.out.send(outgoing{head: b}) }

// Close breaks the connection; it may be called more than once.
func (s *stream) Close() error {
	err := s.sock.Close()
	if s.out != nil {
		s.out.close()
	}
	return err
}

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
