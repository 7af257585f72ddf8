package i2c

import (
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/counters"
	"ipmbd/internal/socket"
)

// SeqpacketMaxFrame is the longest frame on a seqpacket bus, in bytes: ipmbbridge's frame buffer
// without its length byte, so that every frame of ipmbbridge passes.
const SeqpacketMaxFrame = 264

const (
	// longWrite is the time after which a write to a socket counts as long: the kernel delays it,
	// as a wire delays a write to a device, or the machine is busy.
	longWrite = time.Millisecond
	// After a long write, WriteFrame writes, because its caller may wait: for firstSlowTime, and
	// for twice as long each time that the next write is long, too.
	firstSlowTime = 100 * time.Millisecond
	lastSlowTime  = 10 * time.Second
	// enoughQuick is the number of quick writes after which Go's scheduler is no longer told of
	// writes: the scheduler could do nothing about a long one.
	enoughQuick = 16
)

// seqpacket is a bus behind a SOCK_SEQPACKET socket. One packet is one frame, its destination
// address first, without a length byte. A peer that does not read delays WriteFrame as a held
// clock line would.
type seqpacket struct {
	path   string
	conn   *socket.Conn
	drain  *drain
	counts counters.Set[counter]

	// Of the write.
	frame    []byte
	writeErr error
	write    func(fd uintptr) bool // false: there is no room
	tryWrite func(fd uintptr)
	// Until slowUntil nothing is written directly, because a write was long. slowTime is more than
	// firstSlowTime if several writes in a row were long.
	slowUntil time.Time
	slowTime  time.Duration
	quick     int // direct writes in a row that were not long
}

// OpenSeqpacket connects to the SOCK_SEQPACKET socket at path, or at the abstract address that
// follows an @. The errors are OpErrors.
func OpenSeqpacket(path string) (Transport, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, systemError("open", path, err)
	}
	return NewSeqpacket(path, conn)
}

// NewSeqpacket makes a transport of a SOCK_SEQPACKET connection, and owns it from then on. The
// errors are OpErrors, which name the path.
func NewSeqpacket(path string, conn *net.UnixConn) (Transport, error) {
	own, err := socket.NewConn(conn)
	if err != nil {
		return nil, systemError("open", path, err)
	}
	s := &seqpacket{path: path, conn: own, slowTime: firstSlowTime}
	names := []string{droppedPackets: "dropped-oversized", droppedEmpty: "dropped-empty"}
	s.counts = counters.New[counter](names)
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

// ReadFrames implements Transport. It returns io.EOF when the peer has gone.
func (s *seqpacket) ReadFrames(b *Batch) error {
	if err := s.drain.fill(b, s.conn.ReadWhenReady); err != nil {
		return readError(s.path, err)
	}
	return nil
}

// readPacket reads one packet. If a peer closes with packets unread, the system reports that once,
// ahead of the packets that the peer had sent. readPacket returns those packets first, and the end
// of the file after them.
func readPacket(fd int, b []byte) (int, error) {
	n, err := socket.ReadNow(uintptr(fd), b)
	if err == unix.ECONNRESET {
		return socket.ReadNow(uintptr(fd), b)
	}
	return n, err
}

// frameOf drops packets that are too long for a frame: whole, or cut to the room in the batch,
// which is larger than a frame. An empty packet looks like the end of the file, and is the end
// only if the peer has hung up. Otherwise any peer could end the bus with it.
func (s *seqpacket) frameOf(fd int, packet []byte) (int, error) {
	switch {
	case len(packet) == 0 && socket.PeerGone(fd):
		return 0, io.EOF
	case len(packet) == 0:
		s.counts.Count(droppedEmpty)
		return 0, errDropped
	case len(packet) > SeqpacketMaxFrame:
		s.counts.Count(droppedPackets)
		return 0, errDropped
	}
	return 0, nil
}

// WriteFrame implements Transport. It returns ErrClosed when the peer has gone.
func (s *seqpacket) WriteFrame(frame []byte) error {
	if err := s.Limits().Check(frame); err != nil {
		return err
	}
	s.frame = frame
	err := s.conn.WriteWhenReady(s.write)
	if err == nil {
		err = s.writeErr
	}
	return s.writeError(err)
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
	return true, s.writeError(err)
}

// writeError is the error of a Transport for one of a write, nil for nil.
func (s *seqpacket) writeError(err error) error {
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

// hungUp reports whether err is the system's error for a peer that has gone.
func hungUp(err error) bool {
	switch cause(err) {
	case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
		return true
	}
	return false
}

// Limits implements Transport. The socket carries a general call like any frame, and the peer
// decides which nodes it reaches. The socket loses and doubles no frame.
func (s *seqpacket) Limits() Limits {
	return Limits{MaxFrame: SeqpacketMaxFrame, GeneralCall: true, CopyTime: NoCopies}
}

// Counters implements Counter.
func (s *seqpacket) Counters() map[string]uint64 { return s.counts.Statistics() }

// Close implements Transport. A WriteFrame that waits for the peer ends with ErrClosed.
func (s *seqpacket) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return systemError("close", s.path, err)
	}
	return nil
}
