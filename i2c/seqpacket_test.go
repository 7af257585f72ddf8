package i2c

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// seqpacketPair is both ends of a connection. Their buffers take a full batch
// of frames.
func seqpacketPair(t testing.TB) (connected, accepted *seqpacket) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected = seqpacketEnd(t)(OpenSeqpacket(path))
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	accepted = seqpacketEnd(t)(NewSeqpacket(path, conn))
	for _, s := range []*seqpacket{connected, accepted} {
		t.Cleanup(func() { s.Close() })
		var err error
		set := func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) }
		if failed := s.conn.Control(set); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
	}
	return connected, accepted
}

func seqpacketEnd(t testing.TB) func(Transport, error) *seqpacket {
	return func(end Transport, err error) *seqpacket {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return end.(*seqpacket)
	}
}

func TestOpenSeqpacketFails(t *testing.T) {
	stream := filepath.Join(t.TempDir(), "stream.sock")
	l, err := net.Listen("unix", stream)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"no socket", filepath.Join(t.TempDir(), "absent"), unix.ENOENT},
		{"nobody at the abstract address", "@ipmbd-test-nobody", unix.ECONNREFUSED},
		{"a stream socket", stream, unix.EPROTOTYPE},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := OpenSeqpacket(c.path)
			if s != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, %v, want %v", s, err, c.want)
			}
			if want := "open " + c.path + ": " + c.want.Error(); err.Error() != want {
				t.Fatalf("text %q, want %q", err, want)
			}
		})
	}
}

func TestSeqpacketPeerGone(t *testing.T) {
	for _, c := range []struct {
		name string
		gone func(t *testing.T, s, peer *seqpacket)
	}{
		{"closed", func(t *testing.T, s, peer *seqpacket) { peer.Close() }},
		{"closed with frames unread", func(t *testing.T, s, peer *seqpacket) {
			write(t, s, pattern(far, 7))
			peer.Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, peer := seqpacketPair(t)
			last := numbered(near, 2)
			for _, frame := range last {
				write(t, peer, frame)
			}
			c.gone(t, s, peer)
			equal(t, read(t, s, 2), last)
			for range 2 {
				if err := s.ReadFrames(new(Batch)); err != io.EOF {
					t.Fatalf("ReadFrames: got %v, want io.EOF", err)
				}
			}
			err := s.WriteFrame(pattern(far, 7))
			if !errors.Is(err, ErrClosed) || !errors.Is(err, unix.EPIPE) {
				t.Fatalf("WriteFrame: got %v, want ErrClosed and EPIPE", err)
			}
			if want := "write " + s.path + ": transport closed (broken pipe)"; err.Error() != want {
				t.Fatalf("text %q, want %q", err, want)
			}
		})
	}
}

func TestSeqpacketReadEndsWhenThePeerGoes(t *testing.T) {
	s, peer := seqpacketPair(t)
	ended := make(chan error)
	go func() { ended <- s.ReadFrames(new(Batch)) }()
	peer.Close()
	if err := <-ended; err != io.EOF {
		t.Fatalf("got %v, want io.EOF", err)
	}
}

func TestSeqpacketDropsWhatIsNoFrame(t *testing.T) {
	for _, c := range []struct {
		name, counter string
		packet        []byte
	}{
		{"empty", "dropped-empty", nil},
		{"one byte too long", "dropped-oversized", pattern(near, SeqpacketMaxFrame+1)},
		{"as long as the room in a batch", "dropped-oversized", pattern(near, batchRoom)},
		{"cut by the kernel", "dropped-oversized", pattern(near, 20000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, peer := seqpacketPair(t)
			want := numbered(near, 2)
			write(t, peer, want[0])
			sendPacket(t, peer, c.packet)
			write(t, peer, want[1])
			equal(t, read(t, s, 2), want)
			if n := counted(t, s, c.counter); n != 1 {
				t.Fatalf("counted %d, want 1", n)
			}
		})
	}
}

func TestSeqpacketDropsAFlood(t *testing.T) {
	s, peer := seqpacketPair(t)
	want := numbered(near, 1)
	for range MaxBatch + 10 {
		sendPacket(t, peer, nil)
	}
	write(t, peer, want[0])
	equal(t, read(t, s, 1), want)
	if n := counted(t, s, "dropped-empty"); n != MaxBatch+10 {
		t.Fatalf("counted %d, want %d", n, MaxBatch+10)
	}
}

// sendPacket sends packets that WriteFrame refuses, without waiting.
func sendPacket(t *testing.T, from *seqpacket, packet []byte) {
	t.Helper()
	var err error
	if failed := from.conn.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), packet, unix.MSG_DONTWAIT, nil)
	}); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
}

func TestSeqpacketBatchIsBounded(t *testing.T) {
	s, peer := seqpacketPair(t)
	want := numbered(near, MaxBatch+44)
	for _, frame := range want {
		write(t, peer, frame)
	}
	var batch Batch
	if err := s.ReadFrames(&batch); err != nil {
		t.Fatal(err)
	}
	equal(t, batch.Frames(), want[:MaxBatch])
	equal(t, read(t, s, 44), want[MaxBatch:])
}

func TestSeqpacketCloseEndsABlockedWrite(t *testing.T) {
	s, _ := seqpacketPair(t)
	ended := make(chan error)
	progress := make(chan struct{}, 1)
	go func() {
		for {
			if err := s.WriteFrame(pattern(far, 100)); err != nil {
				ended <- err
				return
			}
			select {
			case progress <- struct{}{}:
			default:
			}
		}
	}()
	<-progress
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}

// fill sends until the socket takes no more.
func fill(t *testing.T, s *seqpacket) {
	t.Helper()
	var err error
	for err == nil {
		failed := s.conn.Control(func(fd uintptr) {
			err = unix.Sendto(int(fd), pattern(far, 1), unix.MSG_DONTWAIT, nil)
		})
		if failed != nil {
			t.Fatal(failed)
		}
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
}

func TestSeqpacketErrnos(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		want  bool
	}{
		{unix.EPIPE, true},
		{unix.ECONNRESET, true},
		{unix.ENOTCONN, true},
		{unix.EIO, false},
		{unix.ENOBUFS, false},
	} {
		t.Run(c.errno.Error(), func(t *testing.T) {
			if got := hungUp(&net.OpError{Op: "write", Err: c.errno}); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestSeqpacketDoesNotAllocate(t *testing.T) {
	s, peer := seqpacketPair(t)
	var batch Batch
	frame := pattern(far, 19)
	carry := func() { carryOne(t, s, peer, frame, &batch) }
	carry()
	if n := testing.AllocsPerRun(100, carry); n != 0 {
		t.Fatalf("%v allocations for a frame", n)
	}
}

// BenchmarkSeqpacket is a frame written to a socket and read from it, in one
// goroutine.
func BenchmarkSeqpacket(b *testing.B) {
	s, peer := seqpacketPair(b)
	var batch Batch
	frame := pattern(far, 19)
	b.ReportAllocs()
	for b.Loop() {
		carryOne(b, s, peer, frame, &batch)
	}
}

func carryOne(t testing.TB, from, to Transport, frame []byte, batch *Batch) {
	if err := from.WriteFrame(frame); err != nil {
		t.Fatal(err)
	}
	if err := to.ReadFrames(batch); err != nil {
		t.Fatal(err)
	}
}
