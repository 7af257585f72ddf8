package dbuswire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"ipmbd/internal/bustest"
	"ipmbd/internal/socket"
)

// feed makes a stream of the bytes of a reader. The messages that it sends are not read.
func feed(t *testing.T, r io.Reader) *stream {
	t.Helper()
	ours, theirs := streamPair(t)
	go func() {
		_, _ = io.Copy(theirs, r)
		_ = theirs.CloseWrite()
	}()
	s := newConn(ours, nil).stream
	t.Cleanup(func() {
		_ = s.Close()
		<-s.conn.out.ended
	})
	return s
}

// streamPair is a socket as a stream has it, and the message bus's end.
func streamPair(t testing.TB) (ours *socket.Conn, theirs *net.UnixConn) {
	t.Helper()
	end, theirs := socketPair(t)
	ours, err := socket.NewConn(end)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// socketPair is two sockets that are connected until the test ends.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket pair")
		conn, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns[i] = conn.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

func TestStreamGivesTheLibraryWhatIsNotTaken(t *testing.T) {
	request := func(cmd byte, order binary.ByteOrder, length int) []byte {
		return encodeCall(t, order, ":1.5", byte(0), byte(6), byte(0), cmd, make([]byte, length))
	}
	unwanted := func(length int) []byte {
		b := request(6, binary.LittleEndian, length)
		b[2] = FlagNoReply
		return b
	}
	text := []byte("REJECTED EXTERNAL\r\n")
	messages := [][]byte{
		request(1, binary.LittleEndian, 3),
		request(2, binary.LittleEndian, 0), // taken
		request(3, binary.BigEndian, 7),
		request(4, binary.LittleEndian, readBuffer), // does not fit the buffer
		request(2, binary.LittleEndian, 1),          // taken
		request(2, binary.LittleEndian, readBuffer), // taken, does not fit either
		unwanted(0),
		unwanted(readBuffer),
		request(5, binary.LittleEndian, 0),
	}
	for name, slow := range map[string]func(io.Reader) io.Reader{
		"at once":      func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
		"by halves":    iotest.HalfReader,
	} {
		t.Run(name, func(t *testing.T) {
			// The other side says more only when the text has been read.
			more, gate := io.Pipe()
			s := feed(t, slow(io.MultiReader(bytes.NewReader(text), more)))
			got := make([]byte, len(text))
			if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("text %q, %v", got, err)
			}
			go func() {
				_, _ = gate.Write(bytes.Join(messages, nil))
				_ = gate.Close()
			}()
			taken := 0
			s.call = func(_ *Conn, m *Message) bool {
				if m.Body[3] != 2 {
					return false
				}
				taken++
				return true
			}
			for _, want := range []byte{1, 3, 4, 5} {
				msg, err := dbus.DecodeMessage(s)
				if err != nil {
					t.Fatal(err)
				}
				if msg.Body[3] != want {
					t.Errorf("command %v, want %v", msg.Body[3], want)
				}
			}
			if _, err := s.Read(make([]byte, 1)); err != io.EOF || taken != 3 {
				t.Errorf("%v, %d taken", err, taken)
			}
		})
	}
}

// repliedFunc is a call whose reply a function takes.
type repliedFunc func(*Message)

func (f repliedFunc) Replied(m *Message) { f(m) }
func (f repliedFunc) Lost()              {}

func TestStreamTakesTheReplyToACallOfOursOnce(t *testing.T) {
	const long, failed, stranger = 98, 97, 96
	for name, order := range bustest.ByteOrders {
		s := feed(t, bytes.NewReader(bytes.Join([][]byte{
			encodeReturn(t, order, 99, byte(1)), // taken
			encodeReturn(t, order, 99, byte(2)),
			encodeReturn(t, order, stranger, byte(3)),
			encodeError(t, order, failed, "a.b.C"),                 // taken
			encodeReturn(t, order, long, make([]byte, readBuffer)), // taken, does not fit the buffer
			encodeReturn(t, order, stranger, make([]byte, readBuffer)),
			encodeReturn(t, order, long, byte(4)),
		}, nil)))
		var taken []Message
		for _, serial := range []uint32{99, long, failed} {
			if err := s.conn.calls.addCall(serial, repliedFunc(func(m *Message) { taken = append(taken, *m) }), Place{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []uint32{99, stranger, stranger, long} {
			msg, err := dbus.DecodeMessage(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := msg.Headers[dbus.FieldReplySerial].Value(); got != want {
				t.Errorf("%s: the library got the reply to %v, want %v", name, got, want)
			}
		}
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		if len(taken) != 3 || taken[0].ReplySerial != 99 || taken[1].Type != TypeError || taken[2].ReplySerial != long ||
			taken[2].Body != nil {
			t.Errorf("%s: taken: %+v", name, taken)
		}
	}
}

func TestStreamEndsAtAnImpossibleLength(t *testing.T) {
	message := encodeCall(t, binary.LittleEndian, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{})
	for name, at := range map[string]int{"body": 4, "fields": 12} {
		long := bytes.Clone(message)
		binary.LittleEndian.PutUint32(long[at:], math.MaxUint32)
		s := feed(t, bytes.NewReader(long))
		s.call = func(*Conn, *Message) bool { t.Error("taken"); return true }
		if _, err := dbus.DecodeMessage(s); !errors.Is(err, errLength) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Messages that are held until the last call was read leave also if there is no last call.
func TestStreamThatEndsHoldsNothingBack(t *testing.T) {
	call := encodeCall(t, binary.LittleEndian, ":1.5", byte(0))
	damaged := bytes.Clone(call)
	binary.LittleEndian.PutUint32(damaged[4:], math.MaxUint32)
	s := feed(t, bytes.NewReader(slices.Concat(call, call, damaged)))
	s.call = func(c *Conn, m *Message) bool {
		to := c.ReplyTo(m)
		to.Return("", nil)
		return true
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errLength) {
		t.Errorf("%v", err)
	}
	r := &s.conn.replies
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owed != 0 || s.conn.out.hasMore(0) {
		t.Errorf("%d replies are owed", r.owed)
	}
}
