package i2c

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// standIn is an ipmb-dev whose descriptor is one end of a socket pair, and the
// other end, which plays the driver.
func standIn(t *testing.T) (d *ipmbDev, driver *os.File) {
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
	device, err := chardev.New(os.NewFile(uintptr(fds[0]), "device"))
	if err != nil {
		t.Fatal(err)
	}
	d = newIPMBDev("/dev/ipmb-4", device, false)
	t.Cleanup(func() { d.Close() })
	return d, driver
}

func openStandIn(t *testing.T) bus {
	d, driver := standIn(t)
	return bus{
		Transport: d,
		queue: func(t *testing.T, frames ...[]byte) {
			t.Helper()
			for _, frame := range slices.Backward(frames) {
				push(t, driver, packet(frame))
			}
		},
		sent: func(t *testing.T, n int) [][]byte {
			t.Helper()
			frames := make([][]byte, n)
			for i := range frames {
				frames[i] = pull(t, driver)
			}
			return frames
		},
	}
}

// packet is a frame as the driver has it.
func packet(frame []byte) []byte { return append([]byte{byte(len(frame))}, frame...) }

func push(t *testing.T, driver *os.File, packet []byte) {
	t.Helper()
	if _, err := driver.Write(packet); err != nil {
		t.Fatal(err)
	}
}

// pull is the next frame that was written to the driver.
func pull(t *testing.T, driver *os.File) []byte {
	t.Helper()
	b := make([]byte, 1024)
	n, err := driver.Read(b)
	if err != nil || n < 1 || int(b[0]) != n-1 {
		t.Fatalf("driver was written % X, %v", b[:n], err)
	}
	return b[1:n]
}

func TestOpenIPMBDevFails(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "ipmb-4")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "ipmb-5")
	for _, c := range []struct {
		name, path string
		want       error
		text       string
	}{
		{"no node", absent, unix.ENOENT, "open " + absent + ": no such file or directory"},
		{"regular file", plain, chardev.ErrNotDevice, "open " + plain + ": not a character device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := OpenIPMBDev(c.path)
			if d != nil || !errors.Is(err, c.want) || err.Error() != c.text {
				t.Fatalf("got %v, %v, want %q", d, err, c.text)
			}
		})
	}
}

func TestOpenIPMBDevOpensACharacterDevice(t *testing.T) {
	d, err := OpenIPMBDev("/dev/ptmx")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Limits(), (Limits{MaxFrame: 239}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIPMBDevGeneralCall(t *testing.T) {
	sysfs := t.TempDir()
	ofNode := filepath.Join(sysfs, "class/misc/ipmb-4/device/of_node")
	if err := os.MkdirAll(ofNode, 0o700); err != nil {
		t.Fatal(err)
	}
	if hasI2CProtocol(sysfs, "/dev/ipmb-4") {
		t.Error("without the property: true")
	}
	if err := os.WriteFile(filepath.Join(ofNode, "i2c-protocol"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !hasI2CProtocol(sysfs, "/dev/ipmb-4") {
		t.Error("with the property: false")
	}
	if hasI2CProtocol(sysfs, "/dev/ipmb-5") {
		t.Error("another bus: true")
	}
	for _, want := range []bool{false, true} {
		if got := newIPMBDev("/dev/ipmb-4", nil, want).Limits().GeneralCall; got != want {
			t.Errorf("GeneralCall %v, want %v", got, want)
		}
	}
}

// The driver's queue of 20 frames comes out as 19 to 0.
func TestIPMBDevPutsAStackInOrder(t *testing.T) {
	d, driver := standIn(t)
	want := numbered(near, 20)
	for _, frame := range slices.Backward(want) {
		push(t, driver, packet(frame))
	}
	var batch Batch
	if err := d.ReadFrames(&batch); err != nil {
		t.Fatal(err)
	}
	equal(t, batch.Frames(), want)
}

func TestIPMBDevBatchIsBounded(t *testing.T) {
	d, driver := standIn(t)
	pushed := numbered(near, MaxBatch+44)
	for _, frame := range pushed {
		push(t, driver, packet(frame))
	}
	var batch Batch
	for _, want := range [][][]byte{pushed[:MaxBatch], pushed[MaxBatch:]} {
		if err := d.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
		want = slices.Clone(want)
		slices.Reverse(want)
		equal(t, batch.Frames(), want)
	}
}

func TestIPMBDevDropsAWrongLengthByte(t *testing.T) {
	frame := pattern(near, 19)
	for _, c := range []struct {
		name   string
		packet []byte
	}{
		{"one too few", append([]byte{18}, frame...)},
		{"one too many", append([]byte{20}, frame...)},
		{"no length byte", frame},
		{"nothing but the length byte", []byte{0}},
		{"longer than a length byte tells", append([]byte{255}, pattern(near, 256)...)},
		{"length wrapped", append([]byte{0}, pattern(near, 256)...)},
		{"longer than the room", append([]byte{255}, pattern(near, 2000)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, driver := standIn(t)
			want := numbered(near, 2)
			push(t, driver, packet(want[1]))
			push(t, driver, c.packet)
			push(t, driver, packet(want[0]))
			equal(t, read(t, d, 2), want)
			if n := counted(t, d, "dropped-length-byte"); n != 1 {
				t.Fatalf("counted %d, want 1", n)
			}
		})
	}
}

func TestIPMBDevEndOfFile(t *testing.T) {
	d, driver := standIn(t)
	last := numbered(near, 1)
	push(t, driver, packet(last[0]))
	driver.Close()
	equal(t, read(t, d, 1), last)
	for range 2 {
		if err := d.ReadFrames(new(Batch)); err != io.EOF {
			t.Fatalf("got %v, want io.EOF", err)
		}
	}
}

func TestIPMBDevReadErrors(t *testing.T) {
	d, driver := standIn(t)
	push(t, driver, packet(pattern(near, 7)))
	d.drain.read = func(int, []byte) (int, error) { return -1, unix.EIO }
	err := d.ReadFrames(new(Batch))
	if !errors.Is(err, unix.EIO) || err.Error() != "read /dev/ipmb-4: input/output error" {
		t.Fatalf("got %v", err)
	}
	calls := 0
	d.drain.read = func(fd int, b []byte) (int, error) {
		if calls++; calls == 1 {
			return -1, unix.EINTR
		}
		return unix.Read(fd, b)
	}
	equal(t, read(t, d, 1), [][]byte{pattern(near, 7)})
}

func TestIPMBDevReadsIntoAmpleRoom(t *testing.T) {
	d, driver := standIn(t)
	push(t, driver, packet(pattern(near, 7)))
	d.drain.read = func(fd int, b []byte) (int, error) {
		if len(b) < 512 {
			t.Errorf("read into %d bytes", len(b))
		}
		return unix.Read(fd, b)
	}
	read(t, d, 1)
}

func TestIPMBDevWriteErrors(t *testing.T) {
	for _, c := range []struct {
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
	} {
		t.Run(c.errno.Error(), func(t *testing.T) {
			d, _ := standIn(t)
			calls := 0
			d.write = func(int, []byte) (int, error) {
				calls++
				return -1, c.errno
			}
			err := d.WriteFrame(pattern(far, 7))
			if calls != 1 {
				t.Errorf("%d writes, want 1", calls)
			}
			if !errors.Is(err, c.errno) {
				t.Errorf("got %v, want it to unwrap to the errno", err)
			}
			for _, kind := range []error{ErrNotAcknowledged, ErrArbitrationLost, ErrStuck, ErrTooLong, ErrClosed} {
				if got := errors.Is(err, kind); got != (kind == c.want) {
					t.Errorf("%v is %v: %v", err, kind, got)
				}
			}
		})
	}
}

func TestIPMBDevShortWrite(t *testing.T) {
	d, _ := standIn(t)
	d.write = func(_ int, b []byte) (int, error) { return len(b) - 1, nil }
	err := d.WriteFrame(pattern(far, 7))
	if !errors.Is(err, ErrStuck) || !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("got %v, want ErrStuck and io.ErrShortWrite", err)
	}
	d.write = unix.Write
	write(t, d, pattern(far, 7))
}

// A driver that would block is a lost arbitration at once, not a wait.
func TestIPMBDevNeverWaitsForThePoller(t *testing.T) {
	d, _ := standIn(t)
	var err error
	for err == nil {
		err = d.WriteFrame(pattern(far, 200))
	}
	if !errors.Is(err, ErrArbitrationLost) || !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("got %v, want ErrArbitrationLost and EAGAIN", err)
	}
}

func TestIPMBDevNeverWritesWhatTheDriverMustNotSee(t *testing.T) {
	d, _ := standIn(t)
	d.write = func(_ int, b []byte) (int, error) {
		t.Errorf("written: % X", b)
		return len(b), nil
	}
	for _, frame := range [][]byte{nil, pattern(far, 240)} {
		if err := d.WriteFrame(frame); err == nil {
			t.Errorf("%d bytes: no error", len(frame))
		}
	}
}

func TestIPMBDevCloseWaitsForTheWrite(t *testing.T) {
	d, _ := standIn(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	d.write = func(_ int, b []byte) (int, error) {
		close(entered)
		<-leave
		return len(b), nil
	}
	written := make(chan error, 1)
	go func() { written <- d.WriteFrame(pattern(far, 7)) }()
	<-entered

	closed := make(chan error, 1)
	go func() { closed <- d.Close() }()
	if err := d.ReadFrames(new(Batch)); !errors.Is(err, ErrClosed) {
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

func TestIPMBDevDoesNotAllocate(t *testing.T) {
	d, driver := standIn(t)
	var batch Batch
	frame, received := pattern(far, 7), packet(pattern(near, 19))
	written := make([]byte, 64)
	carry := func() {
		write(t, d, frame)
		push(t, driver, received)
		if err := d.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
		if _, err := driver.Read(written); err != nil {
			t.Fatal(err)
		}
	}
	carry()
	if n := testing.AllocsPerRun(100, carry); n != 0 {
		t.Fatalf("%v allocations for a frame each way", n)
	}
}
