package i2c

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// framing is a driver behind a device, as its stand-in needs it.
type framing struct {
	name string
	open func(file *chardev.Device) (Transport, *device)
	// packet is a frame as the driver has it; unpack is the reverse.
	packet func(frame []byte) []byte
	unpack func(t *testing.T, packet []byte) []byte
	least  int // the shortest frame it carries
}

var framings = []framing{
	{
		name: "ipmb-dev",
		open: func(file *chardev.Device) (Transport, *device) {
			d := newIPMBDev("/dev/ipmb-4", file, protocolUnknown)
			return d, d.device
		},
		packet: packet,
		unpack: unpack,
	},
	{
		name: "ipmb-device",
		open: func(file *chardev.Device) (Transport, *device) {
			d := newIPMBDevice("/dev/ipmb-4", file)
			return d, d.device
		},
		packet: func(frame []byte) []byte { return frame },
		unpack: func(_ *testing.T, packet []byte) []byte { return packet },
		least:  ipmbDeviceMinFrame,
	},
}

// deviceStandIn is a transport on a device whose descriptor is one end of a
// socket pair, and the other end, which plays the driver.
type deviceStandIn struct {
	framing
	Transport
	device *device
	driver *os.File
}

func (f framing) standIn(t *testing.T) *deviceStandIn {
	t.Helper()
	file, driver := standIn(t)
	transport, device := f.open(file)
	return &deviceStandIn{f, transport, device, driver}
}

// receive puts frames into the driver's queue, the last to come out first.
func (s *deviceStandIn) receive(t *testing.T, frames ...[]byte) {
	t.Helper()
	for _, frame := range slices.Backward(frames) {
		push(t, s.driver, s.packet(frame))
	}
}

// sent is the next frame that was written.
func (s *deviceStandIn) sent(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 1024)
	n, err := s.driver.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return s.unpack(t, b[:n])
}

func (f framing) openBus(t *testing.T) bus {
	s := f.standIn(t)
	return bus{
		Transport: s.Transport,
		queue:     s.receive,
		least:     f.least,
		sent: func(t *testing.T, n int) [][]byte {
			t.Helper()
			frames := make([][]byte, n)
			for i := range frames {
				frames[i] = s.sent(t)
			}
			return frames
		},
	}
}

// standIn is one end of a socket pair, which stands for an open device, and the other end.
func standIn(t *testing.T) (file *chardev.Device, driver *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	driver = os.NewFile(uintptr(fds[1]), "driver")
	t.Cleanup(func() { driver.Close() })
	file, err = chardev.New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, driver
}

func push(t *testing.T, driver *os.File, packet []byte) {
	t.Helper()
	if _, err := driver.Write(packet); err != nil {
		t.Fatal(err)
	}
}

func eachFraming(t *testing.T, test func(t *testing.T, s *deviceStandIn)) {
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) { test(t, f.standIn(t)) })
	}
}

// The driver's queue of 20 frames comes out as 19 to 0.
func TestDevicePutsAStackInOrder(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		want := numbered(near, 20)
		s.receive(t, want...)
		var batch Batch
		if err := s.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
		equal(t, batch.Frames(), want)
	})
}

func TestDeviceBatchIsBounded(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		const more = 44
		want := numbered(near, MaxBatch+more)
		s.receive(t, want...)
		var batch Batch
		for _, want := range [][][]byte{want[more:], want[:more]} {
			if err := s.ReadFrames(&batch); err != nil {
				t.Fatal(err)
			}
			equal(t, batch.Frames(), want)
		}
	})
}

// The longest frames that either driver delivers are 258 bytes.
func TestDeviceReadsAFullQueueOfLongFramesAtOnce(t *testing.T) {
	s := framings[1].standIn(t)
	var want [][]byte
	for range MaxBatch {
		want = append(want, pattern(near, 258))
	}
	s.receive(t, want...)
	var batch Batch
	if err := s.ReadFrames(&batch); err != nil {
		t.Fatal(err)
	}
	equal(t, batch.Frames(), want)
}

func TestDeviceCountsAFullQueue(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		s.receive(t, numbered(near, MaxBatch-1)...)
		read(t, s, MaxBatch-1)
		if n := counted(t, s.Transport, "receive-queue-full"); n != 0 {
			t.Fatalf("one frame less than the queue holds: counted %d", n)
		}
		s.receive(t, numbered(near, MaxBatch)...)
		read(t, s, MaxBatch)
		if n := counted(t, s.Transport, "receive-queue-full"); n != 1 {
			t.Fatalf("counted %d, want 1", n)
		}
	})
}

func TestDeviceEndOfFile(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		last := numbered(near, 1)
		s.receive(t, last...)
		s.driver.Close()
		equal(t, read(t, s, 1), last)
		for range 2 {
			if err := s.ReadFrames(new(Batch)); err != io.EOF {
				t.Fatalf("got %v, want io.EOF", err)
			}
		}
	})
}

func TestDeviceReadErrors(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		s.receive(t, pattern(near, 7))
		s.device.drain.read = func(int, []byte) (int, error) { return -1, unix.EIO }
		err := s.ReadFrames(new(Batch))
		if !errors.Is(err, unix.EIO) || err.Error() != "read /dev/ipmb-4: input/output error" {
			t.Fatalf("got %v", err)
		}
		calls := 0
		s.device.drain.read = func(fd int, b []byte) (int, error) {
			if calls++; calls == 1 {
				return -1, unix.EINTR
			}
			return unix.Read(fd, b)
		}
		equal(t, read(t, s, 1), [][]byte{pattern(near, 7)})
	})
}

// What does not fit a read is lost.
func TestDeviceReadsIntoAmpleRoom(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		s.receive(t, pattern(near, 7))
		s.device.drain.read = func(fd int, b []byte) (int, error) {
			if len(b) < 512 {
				t.Errorf("read into %d bytes", len(b))
			}
			return unix.Read(fd, b)
		}
		read(t, s, 1)
	})
}

// transferErrors are the errors of drivers of adapters, and what they say of the
// bus.
var transferErrors = []struct {
	errno syscall.Errno
	want  error
}{
	{unix.EAGAIN, ErrArbitrationLost},
	{unix.ENXIO, ErrNotAcknowledged},
	{unix.EREMOTEIO, ErrNotAcknowledged},
	{unix.ETIMEDOUT, ErrStuck},
	{unix.EBUSY, ErrStuck},
	{unix.EPROTO, ErrStuck},
	{unix.EIO, ErrStuck},
	{unix.EINVAL, ErrStuck},
	{unix.EINTR, ErrStuck},
	{unix.ENODEV, ErrStuck},
	{unix.EOPNOTSUPP, ErrStuck},
}

// checkKind fails the test unless err unwraps to errno and is want, of all the
// kinds of errors.
func checkKind(t *testing.T, err error, errno syscall.Errno, want error) {
	t.Helper()
	if !errors.Is(err, errno) {
		t.Errorf("got %v, want it to unwrap to %v", err, errno)
	}
	for _, kind := range []error{ErrNotAcknowledged, ErrArbitrationLost, ErrStuck, ErrTooLong, ErrClosed} {
		if got := errors.Is(err, kind); got != (kind == want) {
			t.Errorf("%v is %v: %v", err, kind, got)
		}
	}
}

func TestDeviceWriteErrors(t *testing.T) {
	for _, c := range transferErrors {
		t.Run(c.errno.Error(), func(t *testing.T) {
			eachFraming(t, func(t *testing.T, s *deviceStandIn) {
				calls := 0
				s.device.write = func(int, []byte) (int, error) {
					calls++
					return -1, c.errno
				}
				err := s.WriteFrame(pattern(far, 7))
				if calls != 1 {
					t.Errorf("%d writes, want 1", calls)
				}
				checkKind(t, err, c.errno, c.want)
			})
		})
	}
}

func TestTransferErrorByPlace(t *testing.T) {
	for _, c := range transferErrors {
		err := transferError(c.errno, true)
		if !errors.Is(err, c.want) {
			t.Errorf("%v is %v, want %v", c.errno, err, c.want)
		}
		if got, want := NotDelivered(err), c.errno == unix.ENXIO || c.errno == unix.EAGAIN; got != want {
			t.Errorf("%v proves that nothing was delivered: %v", c.errno, got)
		}
		if got, want := NotDelivered(transferError(c.errno, false)), c.errno == unix.EAGAIN; got != want {
			t.Errorf("%v of any byte proves that nothing was delivered: %v", c.errno, got)
		}
	}
}

func TestDeviceShortWrite(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		s.device.write = func(_ int, b []byte) (int, error) { return len(b) - 1, nil }
		err := s.WriteFrame(pattern(far, 7))
		if !errors.Is(err, ErrStuck) || !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("got %v, want ErrStuck and io.ErrShortWrite", err)
		}
		s.device.write = unix.Write
		write(t, s, pattern(far, 7))
	})
}

// A driver that would block is a lost arbitration at once, not a wait.
func TestDeviceNeverWaitsForThePoller(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		var err error
		for err == nil {
			err = s.WriteFrame(pattern(far, 200))
		}
		if !errors.Is(err, ErrArbitrationLost) || !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("got %v, want ErrArbitrationLost and EAGAIN", err)
		}
	})
}

func TestDeviceCloseWaitsForTheWrite(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		entered, leave := make(chan struct{}), make(chan struct{})
		s.device.write = func(_ int, b []byte) (int, error) {
			close(entered)
			<-leave
			return len(b), nil
		}
		closeWaits(t, s, entered, leave)
	})
}

// closeWaits fails the test unless Close ends a read and waits for a write: the
// first closes entered when it is in the kernel, and stays there until leave is
// closed.
func closeWaits(t *testing.T, transport Transport, entered, leave chan struct{}) {
	t.Helper()
	written := make(chan error, 1)
	go func() { written <- transport.WriteFrame(pattern(far, 7)) }()
	<-entered

	closed := make(chan error, 1)
	go func() { closed <- transport.Close() }()
	if err := transport.ReadFrames(new(Batch)); !errors.Is(err, ErrClosed) {
		t.Fatalf("ReadFrames: got %v, want ErrClosed", err)
	}
	select {
	case <-closed:
		t.Fatal("Close returned during a write")
	default:
	}
	close(leave)
	if err := <-written; err != nil {
		t.Fatalf("WriteFrame: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// A driver that has let go of its device must not be called.
func TestDeviceIsNotWrittenToWhenItHasGone(t *testing.T) {
	err := controlError("write", "/dev/ipmb-4", nil, io.EOF)
	checkKind(t, err, unix.ENODEV, ErrClosed)
	if err.Error() != "write /dev/ipmb-4: transport closed (no such device)" {
		t.Fatalf("got %v", err)
	}
}

func TestDeviceDoesNotAllocate(t *testing.T) {
	eachFraming(t, func(t *testing.T, s *deviceStandIn) {
		var batch Batch
		frame, received := pattern(far, 7), s.packet(pattern(near, 19))
		written := make([]byte, 64)
		carry := func() {
			write(t, s, frame)
			push(t, s.driver, received)
			if err := s.ReadFrames(&batch); err != nil {
				t.Fatal(err)
			}
			if _, err := s.driver.Read(written); err != nil {
				t.Fatal(err)
			}
		}
		carry()
		if n := testing.AllocsPerRun(100, carry); n != 0 {
			t.Fatalf("%v allocations for a frame each way", n)
		}
	})
}
