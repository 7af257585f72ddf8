package i2c

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// mqueueDriver plays the driver i2c-slave-mqueue behind one end of a socket pair, and the adapter.
// Out-of-band data on the pair stand for a notification of the attribute: poll reports them until
// the next read.
type mqueueDriver struct {
	fd   int // the far end
	sent chan []byte

	mu       sync.Mutex
	messages [][]byte
	gone     bool
}

func newMqueueStandIn(t *testing.T) (*slaveMqueue, *mqueueDriver) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	attribute, err := chardev.NewAttribute(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	adapter, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	driver := &mqueueDriver{fd: fds[1], sent: make(chan []byte, 1000)}
	m := newSlaveMqueue("/sys/bus/i2c/devices/4-1010/slave-mqueue", attribute, "/dev/i2c-4", adapter)
	m.pread = driver.read
	m.write = driver.write
	t.Cleanup(func() { m.Close() })
	return m, driver
}

// queue takes messages from the bus.
func (d *mqueueDriver) queue(t *testing.T, messages ...[]byte) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.messages = append(d.messages, messages...)
	d.notify()
}

func (d *mqueueDriver) notify() { unix.Sendto(d.fd, []byte("!"), unix.MSG_OOB, nil) }

// read is i2c_slave_mqueue_bin_read.
func (d *mqueueDriver) read(fd int, b []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if offset != 0 {
		return 0, nil
	}
	unix.Recvfrom(fd, make([]byte, 1), unix.MSG_OOB)
	if d.gone {
		return -1, unix.ENODEV
	}
	if len(d.messages) == 0 {
		return 0, nil
	}
	message := d.messages[0]
	d.messages = d.messages[1:]
	if len(d.messages) > 0 {
		d.notify()
	}
	if len(message) > len(b) {
		return -1, unix.EOVERFLOW
	}
	return copy(b, message), nil
}

func (d *mqueueDriver) write(_ int, addr7 uint8, b []byte) error {
	d.sent <- append([]byte{addr7 << 1}, b...)
	return nil
}

func openMqueueBus(t *testing.T) bus {
	m, driver := newMqueueStandIn(t)
	return bus{
		Transport: m,
		queue:     driver.queue,
		sent: func(t *testing.T, n int) [][]byte {
			t.Helper()
			frames := make([][]byte, n)
			for i := range frames {
				frames[i] = <-driver.sent
			}
			return frames
		},
	}
}

func TestSlaveMqueueWaitsForANotification(t *testing.T) {
	m, driver := newMqueueStandIn(t)
	empty := make(chan struct{}, 100)
	m.pread = func(fd int, b []byte, offset int64) (int, error) {
		n, err := driver.read(fd, b, offset)
		if n == 0 {
			empty <- struct{}{}
		}
		return n, err
	}
	want := numbered(near, 3)
	frames := make(chan [][]byte)
	go func() { frames <- read(t, m, len(want)) }()
	for _, frame := range want {
		<-empty
		driver.queue(t, frame)
	}
	equal(t, <-frames, want)
}

func TestSlaveMqueueCountsWhatIsTooLong(t *testing.T) {
	m, driver := newMqueueStandIn(t)
	want := numbered(near, 2)
	driver.queue(t, want[0], pattern(near, batchRoom+1), want[1])
	equal(t, read(t, m, 2), want)
	if n := counted(t, m, "dropped-oversized"); n != 1 {
		t.Fatalf("counted %d, want 1", n)
	}
}

func TestSlaveMqueueEndsWithItsDriver(t *testing.T) {
	m, driver := newMqueueStandIn(t)
	last := numbered(near, 1)
	driver.queue(t, last...)
	equal(t, read(t, m, 1), last)
	driver.mu.Lock()
	driver.gone = true
	driver.notify()
	driver.mu.Unlock()
	for range 2 {
		if err := m.ReadFrames(new(Batch)); err != io.EOF {
			t.Fatalf("got %v, want io.EOF", err)
		}
	}
}

func TestSlaveMqueueReadErrors(t *testing.T) {
	m, _ := newMqueueStandIn(t)
	m.pread = func(int, []byte, int64) (int, error) { return -1, unix.EIO }
	err := m.ReadFrames(new(Batch))
	if !errors.Is(err, unix.EIO) || err.Error() != "read /sys/bus/i2c/devices/4-1010/slave-mqueue: input/output error" {
		t.Fatalf("got %v", err)
	}
}

func TestSlaveMqueueWrites(t *testing.T) {
	m, _ := newMqueueStandIn(t)
	type transfer struct {
		fd    int
		addr7 uint8
		bytes string
	}
	var got transfer
	m.write = func(fd int, addr7 uint8, b []byte) error {
		got = transfer{fd, addr7, string(b)}
		return nil
	}
	fd := int(m.adapter.Fd())
	for _, c := range []struct {
		name  string
		frame []byte
		want  transfer
	}{
		{"request", []byte{0x2C, 0x18, 0xBC, 0x20, 0x04, 0x01, 0xDB}, transfer{fd, 0x16, "\x18\xBC\x20\x04\x01\xDB"}},
		{"general call", []byte{0x00, 0x2C, 0x18}, transfer{fd, 0x00, "\x2C\x18"}},
		{"address alone", []byte{0x2C}, transfer{fd, 0x16, ""}},
	} {
		write(t, m, c.frame)
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSlaveMqueueWriteErrors(t *testing.T) {
	m, _ := newMqueueStandIn(t)
	for _, c := range transferErrors {
		t.Run(c.errno.Error(), func(t *testing.T) {
			m.write = func(int, uint8, []byte) error { return c.errno }
			err := m.WriteFrame(pattern(far, 7))
			checkKind(t, err, c.errno, c.want)
		})
	}
	m.write = func(int, uint8, []byte) error { return io.ErrShortWrite }
	if err := m.WriteFrame(pattern(far, 7)); !errors.Is(err, ErrStuck) || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("no transfer made: got %v, want ErrStuck", err)
	}
	m.write = writeI2C
	err := m.WriteFrame(pattern(far, 7))
	if want := "write /dev/i2c-4: bus stuck (" + syscall.ENOTTY.Error() + ")"; err == nil || err.Error() != want {
		t.Errorf("not an adapter: got %v, want %q", err, want)
	}
}

func TestSlaveMqueueCloseWaitsForTheWrite(t *testing.T) {
	m, _ := newMqueueStandIn(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	m.write = func(fd int, _ uint8, _ []byte) error {
		close(entered)
		<-leave
		var stat unix.Stat_t
		return unix.Fstat(fd, &stat)
	}
	closeWaits(t, m, entered, leave)
}

func TestOpenSlaveMqueueFails(t *testing.T) {
	b := Binding{4, SlaveMqueue, 0x20}
	m := newMachine(t)
	path := m.path(b.Node())
	for _, step := range []struct {
		name    string
		prepare func()
		path    string
		want    error
		text    string
	}{
		{
			"path that names no bus", func() {}, m.path("/sys/slave-mqueue"),
			nil, "open " + m.path("/sys/slave-mqueue") + `: "sys" is not an address of our own on an I2C bus`,
		},
		{
			"no i2c-dev", func() { m.file(path) }, path,
			unix.ENOENT, "open " + m.path("/dev/i2c-4") + ": no such file or directory",
		},
		{
			"attribute without poll", func() { m.file(m.path("/dev/i2c-4")) }, path,
			os.ErrNoDeadline, "open " + path + ": file type does not support deadline",
		},
		{
			"no attribute", func() { os.Remove(path) }, path,
			unix.ENOENT, "open " + path + ": no such file or directory",
		},
		{
			"folder", func() { m.folder(path) }, path,
			chardev.ErrNotAttribute, "open " + path + ": not a regular file",
		},
	} {
		step.prepare()
		transport, err := m.openSlaveMqueue(step.path)
		if transport != nil || err == nil || err.Error() != step.text || step.want != nil && !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, %v, want %q", step.name, transport, err, step.text)
		}
	}
	if _, err := OpenSlaveMqueue("/sys/bus/i2c/devices/4-1010/slave-mqueue-of-no-machine"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestSlaveMqueueDoesNotAllocate(t *testing.T) {
	m, _ := newMqueueStandIn(t)
	received := pattern(near, 19)
	more := false
	m.pread = func(_ int, b []byte, _ int64) (int, error) {
		if more = !more; more {
			return copy(b, received), nil
		}
		return 0, nil
	}
	m.write = func(int, uint8, []byte) error { return nil }
	frame := pattern(far, 7)
	var batch Batch
	carry := func() {
		write(t, m, frame)
		if err := m.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
	}
	carry()
	if n := testing.AllocsPerRun(100, carry); n != 0 {
		t.Fatalf("%v allocations for a frame each way", n)
	}
}

// What goes to the kernel is not copied to the heap.
func TestWriteI2CDoesNotAllocate(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd, frame := int(null.Fd()), pattern(far, 7)
	if n := testing.AllocsPerRun(100, func() { writeI2C(fd, 0x16, frame[1:]) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}
