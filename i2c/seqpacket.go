package i2c

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

// SeqpacketMaxFrame is the longest frame on a seqpacket bus, in bytes: what fits ipmbbridge's
// frame buffer without its length byte, so that every frame of ipmbbridge's passes.
const SeqpacketMaxFrame = 264

const (
	// longWrite is how long a write to a socket does not take, unless something in the
	// kernel holds it, as a wire holds that to a device, or the machine is busy.
	longWrite = time.Millisecond
	// Writes are left to WriteFrame then, whose caller may wait: for so long at first, and
	// for twice as long each time that the next one lasts, too.
	firstSlowTime = 100 * time.Millisecond
	lastSlowTime  = 10 * time.Second
	// enoughQuick is how many writes have not lasted before Go's scheduler is not told of
	// them any more: it could do nothing about one that does.
	enoughQuick = 16
)

// seqpacket is a bus behind a SOCK_SEQPACKET socket. One packet is one frame,
// its destination address first, without a length byte.
//
// A peer that does not read holds WriteFrame as a held clock line would.
type seqpacket struct {
	path  string
	conn  *socket.Conn
	drain *drain

	// Of the write.
	frame    []byte
	writeErr error
	write    func(fd uintptr) bool // false: there is no room
	tryWrite func(fd uintptr)
	// Until slowUntil nothing is written directly: a write has lasted, for the last time
	// of several in a row if slowTime is more than firstSlowTime.
	slowUntil time.Time
	slowTime  time.Duration
	quick     int // direct writes in a row that did not last

	empty, oversized atomic.Uint64
}

// OpenSeqpacket connects to the SOCK_SEQPACKET socket at path, or at the
// abstract address that follows an @. The errors are OpErrors.
func OpenSeqpacket(path string) (Transport, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: cause(err)}
	}
	return NewSeqpacket(path, conn)
}

// NewSeqpacket makes a transport of a SOCK_SEQPACKET connection, which belongs to it from now
// on. Errors name the path. The errors are OpErrors.
func NewSeqpacket(path string, conn *net.UnixConn) (Transport, error) {
	own, err := socket.NewConn(conn)
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: cause(err)}
	}
	s := &seqpacket{path: path, conn: own, slowTime: firstSlowTime}
	s.drain = newDrain(readPacket, s.frameOf)
	s.write = func(fd uintptr) bool {
		for {
			_, s.writeErr = unix.Write(int(fd), s.frame)
			if s.writeErr != unix.EINTR {
				return s.writeErr != unix.EAGAIN
			}
		}
	}
	s.tryWrite = func(fd uintptr) {
		if s.quick < enoughQuick {
			s.write(fd)
			return
		}
		_, s.writeErr = socket.WriteNow(fd, s.frame)
	}
	return s, nil
}

// ReadFrames implements Transport.
func (s *seqpacket) ReadFrames(b *Batch) error {
	err := s.drain.fill(b, s.conn.ReadWhenReady)
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case hungUp(err):
		return io.EOF
	}
	return &OpError{Op: "read", Device: s.path, Err: cause(err)}
}

// readPacket reads one packet. A peer that went without having read all is
// reported once, ahead of the packets that it had sent: those come first here,
// and the end of the file after them.
func readPacket(fd int, b []byte) (int, error) {
	n, err := socket.ReadNow(uintptr(fd), b)
	if err == unix.ECONNRESET {
		return socket.ReadNow(uintptr(fd), b)
	}
	return n, err
}

// frameOf drops what is too long for a frame: whole, or cut to the room in the
// batch, which is larger than a frame. An empty packet looks like the end of
// the file and is one only if the peer has hung up: otherwise any peer could
// bring the bus down with it.
func (s *seqpacket) frameOf(fd int, packet []byte) (int, error) {
	switch {
	case len(packet) == 0 && socket.PeerGone(fd):
		return 0, io.EOF
	case len(packet) == 0:
		s.empty.Add(1)
		return 0, errDropped
	case len(packet) > SeqpacketMaxFrame:
		s.oversized.Add(1)
		return 0, errDropped
	}
	return 0, nil
}

// WriteFrame implements Transport. A peer that has gone is ErrClosed.
func (s *seqpacket) WriteFrame(frame []byte) error {
	if err := s.Limits().Check(frame); err != nil {
		return err
	}
	s.frame = frame
	err := s.conn.WriteWhenReady(s.write)
	if err == nil {
		err = s.writeErr
	}
	return s.wrote(err)
}

// TryWriteFrame implements DirectWriter.
func (s *seqpacket) TryWriteFrame(frame []byte) (done bool, err error) {
	if err := s.Limits().Check(frame); err != nil {
		return true, err
	}
	begin := time.Now()
	if begin.Before(s.slowUntil) {
		return false, nil
	}
	s.frame = frame
	if err = s.conn.Control(s.tryWrite); err == nil {
		err = s.writeErr
	}
	if err == unix.EAGAIN {
		return false, nil
	}
	if end := time.Now(); end.Sub(begin) <= longWrite {
		s.quick++
		s.slowTime = firstSlowTime
	} else {
		s.quick = 0
		s.slowUntil = end.Add(s.slowTime)
		s.slowTime = min(2*s.slowTime, lastSlowTime)
	}
	return true, s.wrote(err)
}

// wrote is the outcome of a write.
func (s *seqpacket) wrote(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case hungUp(err):
		return &OpError{Op: "write", Device: s.path, Kind: ErrClosed, Err: cause(err)}
	}
	return &OpError{Op: "write", Device: s.path, Kind: ErrStuck, Err: cause(err)}
}

// hungUp reports whether err is how the system says that the peer has gone.
func hungUp(err error) bool {
	switch cause(err) {
	case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
		return true
	}
	return false
}

// Limits implements Transport. What a general call reaches is the peer's
// business; the socket carries it as any frame. It loses and doubles none.
func (s *seqpacket) Limits() Limits {
	return Limits{MaxFrame: SeqpacketMaxFrame, GeneralCall: true, CopyTime: NoCopies}
}

// Counters implements Counter.
func (s *seqpacket) Counters() map[string]uint64 {
	return map[string]uint64{
		"dropped-empty":     s.empty.Load(),
		"dropped-oversized": s.oversized.Load(),
	}
}

// Close implements Transport. A WriteFrame that waits for the peer ends with
// ErrClosed.
func (s *seqpacket) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return &OpError{Op: "close", Device: s.path, Err: cause(err)}
	}
	return nil
}
