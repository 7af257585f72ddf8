package dbuswire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
)

const (
	// readBuffer holds a few hundred small messages, so that one read system call fetches all
	// messages that wait.
	readBuffer = 16 << 10
	// maxUnsent is how many bytes may wait to be written when a call is read. With more, calls
	// wait in the socket's buffer, and in the message bus.
	maxUnsent = 1 << 20
	// maxMessage is the longest call or signal that is read, in bytes. Only configurations and
	// registrations are longer than a frame. A message bus passes on 32 MiB and more, from any
	// client, any number of times.
	maxMessage = 256 << 10
)

// errLength: the bytes are no message, and the start of the next one is unknown.
var errLength = errors.New("message of a length that D-Bus does not allow")

// stream is the byte stream between a socket and godbus. It takes messages for its own
// connection out of the stream. Each Write is whole messages.
type stream struct {
	conn   *Conn
	sock   io.ReadCloser
	buffer *bufio.Reader
	call   func(*Conn, *Message) bool // Config.Call, or nil
	// monitor is Config.Monitor.
	monitor bool

	message Message // being read
	// unread is how many bytes of godbus's message are still in the buffer or the socket.
	unread int
	// copied is a message for godbus that is no longer in the buffer.
	copied []byte
	// working holds a token while the reading goroutine does anything but wait for a socket.
	working chan struct{}
	// holds: the messages that are sent while calls are read wait for the last call that is in the
	// buffer, so that one write sends all replies.
	holds bool
}

func newStream(conn *Conn, sock io.ReadCloser, call func(*Conn, *Message) bool) *stream {
	s := &stream{conn: conn, sock: sock, call: call, working: make(chan struct{}, 1)}
	s.working <- struct{}{}
	s.buffer = bufio.NewReaderSize(fetcher{s}, readBuffer)
	return s
}

// fetcher is the io.Reader of the socket.
type fetcher struct{ stream *stream }

func (f fetcher) Read(p []byte) (int, error) {
	f.stream.flushHeld()
	<-f.stream.working
	defer func() { f.stream.working <- struct{}{} }()
	return f.stream.sock.Read(p)
}

// ping returns when the reading goroutine waits for a socket, or when over is closed.
func (s *stream) ping(over <-chan struct{}) {
	select {
	case s.working <- struct{}{}:
		<-s.working
	case <-over:
	}
}

// Read gives godbus the messages that are not taken.
func (s *stream) Read(p []byte) (int, error) {
	for s.unread == 0 && len(s.copied) == 0 {
		if err := s.nextMessage(); err != nil {
			s.flushHeld() // No further read does it.
			return 0, err
		}
	}
	if len(s.copied) > 0 {
		n := copy(p, s.copied)
		s.copied = s.copied[n:]
		return n, nil
	}
	n, err := s.buffer.Read(p[:min(len(p), s.unread)])
	s.unread -= n
	return n, err
}

// nextMessage reads the header of the next message and takes the message or leaves it to godbus.
// The text of the authentication comes before the first message; no line of it begins as a message
// does.
func (s *stream) nextMessage() error {
	first, err := s.buffer.Peek(1)
	if err != nil {
		return err
	}
	if order := byteOrder(first[0]); order != littleEndian && order != bigEndian {
		s.unread = s.buffer.Buffered()
		return nil
	}
	head, err := s.buffer.Peek(fixed)
	if err != nil {
		return err
	}
	kind, wantsReply := head[1], head[2]&FlagNoReply == 0
	length, ok := messageLength(head)
	if !ok {
		return errLength
	}
	if kind == TypeCall {
		s.awaitRoom()
		if wantsReply && !s.monitor {
			s.conn.replies.countOwed()
		}
	}
	message, err := s.buffer.Peek(min(length, readBuffer))
	switch {
	case err != nil:
		return err
	case length > maxMessage && (kind == TypeCall || kind == TypeSignal):
		return s.skipMessage(message, length)
	case kind == TypeCall && s.call != nil:
		return s.nextCall(message, length)
	case kind == TypeCall && !wantsReply:
		return s.discard(length) // godbus would return an error.
	case kind == TypeReturn || kind == TypeError:
		if s.message.parseHeader(message) && s.conn.calls.endCall(&s.message) {
			return s.discard(length)
		}
	}
	s.unread = length
	return nil
}

// discard reads over the rest of a message.
func (s *stream) discard(length int) error {
	_, err := s.buffer.Discard(length)
	return err
}

// nextCall hands a call, the first bytes of which are in the buffer, to Config.Call. A call that
// wants no reply does not get to godbus, which would return an error.
func (s *stream) nextCall(message []byte, length int) error {
	fits := length == len(message)
	if !fits {
		message = make([]byte, length)
		if _, err := io.ReadFull(s.buffer, message); err != nil {
			return err
		}
	}
	ok := s.message.parseHeader(message)
	s.message.Owned = !fits
	if fits && s.buffer.Buffered() > length && !s.holds {
		s.holds = s.conn.out.holdBack()
	}
	taken := ok && s.call(s.conn, &s.message) || message[2]&FlagNoReply != 0
	switch {
	case taken && fits:
		return s.discard(length)
	case fits:
		s.unread = length
	case !taken:
		s.copied = message
	}
	return nil
}

// skipMessage reads over a message that is too long. A call that names its sender gets an error.
func (s *stream) skipMessage(begin []byte, length int) error {
	rest := length
	if header := int(min(bodyOffset(begin), maxMessage)); header > len(begin) {
		begin = make([]byte, header)
		if _, err := io.ReadFull(s.buffer, begin); err != nil {
			return err
		}
		rest -= header
	}
	if begin[1] == TypeCall && !s.monitor {
		if m, ok := Parse(begin); ok && len(m.Sender) > 0 {
			to := s.conn.ReplyTo(&m)
			to.Destination = string(m.Sender)
			to.Fail(tooLongError(length))
		} else if begin[2]&FlagNoReply == 0 {
			s.conn.replies.countReply()
		}
	}
	return s.discard(rest)
}

func tooLongError(length int) *dbus.Error {
	return &dbus.Error{Name: errorLimits, Body: []any{
		fmt.Sprintf("a message of %d bytes: more than %d are not read", length, maxMessage)}}
}

const errorLimits = "org.freedesktop.DBus.Error.LimitsExceeded"

// flushHeld sends the messages that were held back.
func (s *stream) flushHeld() {
	if s.holds {
		s.holds = false
		s.conn.out.flushQueue()
	}
}

// awaitRoom waits while more than maxUnsent bytes wait to be written: each call may add a reply.
func (s *stream) awaitRoom() {
	out := s.conn.out
	if out.hasMore(maxGather) {
		s.flushHeld()
	}
	if out.hasMore(maxUnsent) {
		<-s.working
		out.awaitRoom(maxUnsent)
		s.working <- struct{}{}
	}
}

// Write sends messages of godbus: a reply alone, others in any number. It does not block.
func (s *stream) Write(b []byte) (int, error) {
	reply := len(b) > fixed && (b[1] == TypeReturn || b[1] == TypeError)
	if reply && s.monitor {
		return len(b), nil
	}
	if err := s.conn.out.sendMessage(outgoing{bytes: bytes.Clone(b), reply: reply}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close breaks the connection; it may be called more than once.
func (s *stream) Close() error {
	err := s.sock.Close()
	s.conn.out.close()
	return err
}

// serials numbers the messages of a connection from 1, for the library too. A number comes again
// after 2^32 messages; no call waits that long.
type serials struct{ last atomic.Uint32 }

func (s *serials) GetSerial() uint32 {
	for {
		if n := s.last.Add(1); n != 0 {
			return n
		}
	}
}

func (s *serials) RetireSerial(uint32) {}
