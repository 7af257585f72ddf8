package host

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// medium is a kind of device, with a driver that a test plays.
type medium struct {
	name    string
	port    func(d *device) Port
	driver  func(base *driver) fakeDriver
	maxData int
	numbers bool // it numbers the host's requests
}

var media = []medium{
	{
		name: "kcs", maxData: 997,
		port:   func(d *device) Port { return newKCSPort(d) },
		driver: func(base *driver) fakeDriver { return &kcsDriver{driver: base} },
	},
	{
		name: "bt", maxData: 251, numbers: true,
		port:   func(d *device) Port { return newBTPort(d) },
		driver: func(base *driver) fakeDriver { return &btDriver{driver: base} },
	},
	{
		name: "ssif", maxData: 251,
		port:   func(d *device) Port { return newSSIFPort(d) },
		driver: func(base *driver) fakeDriver { return &ssifDriver{driver: base} },
	},
}

// fakeDriver behaves as a driver of the kernel's.
type fakeDriver interface {
	read(fd int, b []byte) (int, error)
	write(fd int, b []byte) (int, error)
	poll(fd int, events int16, wait time.Duration) (int16, error)
	ioctl(fd int, request uintptr) error
	// asks is a request of the host's, which it numbers where it can.
	asks(seq, netFnLUN, command byte, data ...byte)
}

// driver is the common part of fake drivers. Their device is one end of a socket pair;
// a write at the other end makes it readable.
type driver struct {
	t    *testing.T
	wake *os.File

	mu      sync.Mutex
	failure error  // of each call from now on
	request []byte // as a read has it
	waits   bool   // request can be read

	taken    chan struct{} // a request was read
	answers  chan []byte   // as they were written
	requests []uintptr     // ioctls
}

// standIn is a device in the hands of a test, and the other end of its socket.
func standIn(t *testing.T, room int) (*device, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(fds[1]), "driver")
	t.Cleanup(func() { other.Close() })
	file, err := chardev.New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return newDevice("/dev/ipmi-host", file, room), other
}

// open is a port on a device of a driver.
func open[D fakeDriver](t *testing.T, m medium) (Port, D) {
	t.Helper()
	d, other := standIn(t, 1000)
	f := m.driver(&driver{t: t, wake: other, taken: make(chan struct{}, 100), answers: make(chan []byte, 100)})
	d.read, d.write, d.poll, d.ioctl = f.read, f.write, f.poll, f.ioctl
	return m.port(d), f.(D)
}

func eachMedium(t *testing.T, test func(t *testing.T, m medium, p Port, f fakeDriver)) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			p, f := open[fakeDriver](t, m)
			test(t, m, p, f)
		})
	}
}

// sends is a message of the host's, in the driver's form.
func (d *driver) sends(b []byte) {
	d.mu.Lock()
	d.request, d.waits = b, true
	d.mu.Unlock()
	d.wakeUp()
}

func (d *driver) wakeUp() {
	if _, err := d.wake.Write([]byte{0}); err != nil {
		d.t.Error(err)
	}
}

// fails makes each call fail from now on.
func (d *driver) fails(err error) {
	d.mu.Lock()
	defer d.mu.Unlock() // After the wake-up: a loop that fails closes the device.
	d.failure = err
	d.wakeUp()
}

// take is the common part of a read. It has the lock.
func (d *driver) take(fd int, b []byte) (int, error) {
	for {
		if n, err := unix.Read(fd, make([]byte, 8)); n <= 0 || err != nil {
			break
		}
	}
	switch {
	case d.failure != nil:
		return -1, d.failure
	case !d.waits:
		return -1, unix.EAGAIN
	}
	d.waits = false
	d.taken <- struct{}{}
	return copy(b, d.request), nil
}

func (d *driver) poll(int, int16, time.Duration) (int16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waits {
		return unix.POLLIN, nil
	}
	return 0, nil
}

func (d *driver) ioctl(_ int, request uintptr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, request)
	return d.failure
}

// made are the ioctls so far.
func (d *driver) made() []uintptr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests
}

// answered is the next answer, as it was written.
func (d *driver) answered() []byte {
	d.t.Helper()
	select {
	case b := <-d.answers:
		return b
	case <-time.After(10 * time.Second):
		d.t.Fatal("no answer")
		return nil
	}
}

// silent fails the test if anything was answered.
func (d *driver) silent() {
	d.t.Helper()
	select {
	case b := <-d.answers:
		d.t.Errorf("answered % X", b)
	default:
	}
}

// reads is the next request that a port reads.
func reads(t *testing.T, p Port) Request {
	t.Helper()
	r, err := p.Read()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write writes a response and the rest of it.
func write(p Port, r Response) error {
	done, err := p.Write(r)
	if err != nil || done {
		return err
	}
	return p.Finish()
}

func writes(t *testing.T, p Port, r Response) {
	t.Helper()
	if err := write(p, r); err != nil {
		t.Fatal(err)
	}
}

// answerTo is an answer to a request.
func answerTo(r Request, code ipmi.CompletionCode, data ...byte) Response {
	return Response{Tag: r.Tag, NetFn: r.NetFn.Response(), LUN: r.LUN, Command: r.Command, Code: code, Data: data}
}

func counted(t *testing.T, p Port, name string) uint64 {
	t.Helper()
	var d *device
	switch p := p.(type) {
	case *KCSPort:
		d = p.device
	case *SSIFPort:
		d = p.device
	case *BTPort:
		d = p.device
	}
	n, ok := d.counts.Statistics()[name]
	if !ok {
		t.Fatalf("there is no counter %s", name)
	}
	return n
}

func TestDeviceRequests(t *testing.T) {
	eachMedium(t, func(t *testing.T, m medium, p Port, f fakeDriver) {
		for _, c := range []struct {
			name string
			data []byte
		}{
			{"no data", nil},
			{"data", []byte{1, 2, 3}},
			{"much data", bytes.Repeat([]byte{7}, 250)},
		} {
			t.Run(c.name, func(t *testing.T) {
				f.asks(9, 0x19, 0x34, c.data...)
				r := reads(t, p)
				if r.NetFn != 6 || r.LUN != 1 || r.Command != 0x34 || !bytes.Equal(r.Data, c.data) {
					t.Errorf("got %+v", r)
				}
				if m.numbers && r.Tag != 9 {
					t.Errorf("tag %d, want the host's sequence, 9", r.Tag)
				}
				writes(t, p, answerTo(r, 0))
			})
		}
	})
}

// A request that comes while no call reads is there for the next read.
func TestDeviceWaitsForARequest(t *testing.T) {
	eachMedium(t, func(t *testing.T, _ medium, p Port, f fakeDriver) {
		requests := make(chan Request, 1)
		go func() {
			r, _ := p.Read()
			requests <- r
		}()
		f.asks(1, 0x18, 1)
		if r := <-requests; r.NetFn != 6 || r.Command != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestDeviceRefusesWhatItWouldCutOff(t *testing.T) {
	eachMedium(t, func(t *testing.T, m medium, p Port, f fakeDriver) {
		if limits := p.Limits(); limits.MaxData != m.maxData {
			t.Errorf("at most %d bytes of data, want %d", limits.MaxData, m.maxData)
		}
		f.asks(1, 0x18, 1)
		r := reads(t, p)
		if err := write(p, answerTo(r, 0, make([]byte, m.maxData+1)...)); !errors.Is(err, ipmi.ErrResponseTooLong) {
			t.Errorf("got %v, want ErrResponseTooLong", err)
		}
		writes(t, p, answerTo(r, 0, make([]byte, m.maxData)...))
	})
}

// Hosts of the kernel's drivers wait for 5 s, its SSIF driver for 500 ms.
func TestDeviceDeadlines(t *testing.T) {
	for name, want := range map[string]time.Duration{"kcs": 5 * time.Second, "bt": 5 * time.Second, "ssif": 500 * time.Millisecond} {
		for _, m := range media {
			if got := m.port(nil).Limits().Deadline; m.name == name && (got >= want || got < want*3/4) {
				t.Errorf("%s: %v, and the host waits %v", name, got, want)
			}
		}
	}
}

func TestDeviceErrorsEndIt(t *testing.T) {
	type driven interface{ fails(error) }
	eachMedium(t, func(t *testing.T, _ medium, p Port, f fakeDriver) {
		f.asks(1, 0x18, 1)
		r := reads(t, p)
		f.(driven).fails(unix.ENODEV)
		if _, err := p.Read(); !errors.Is(err, unix.ENODEV) || err.Error() != "read /dev/ipmi-host: no such device" {
			t.Errorf("read: %v", err)
		}
		if err := write(p, answerTo(r, 0)); !errors.Is(err, unix.ENODEV) || err.Error() != "write /dev/ipmi-host: no such device" {
			t.Errorf("write: %v", err)
		}
	})
}

func TestDeviceShortWriteIsAnError(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			d, other := standIn(t, 1000)
			f := m.driver(&driver{t: t, wake: other, taken: make(chan struct{}, 1)})
			d.read, d.poll = f.read, f.poll
			d.write = func(_ int, b []byte) (int, error) { return len(b) - 1, nil }
			p := m.port(d)
			f.asks(1, 0x18, 1)
			if err := write(p, answerTo(reads(t, p), 0)); !errors.Is(err, io.ErrShortWrite) {
				t.Errorf("got %v, want io.ErrShortWrite", err)
			}
		})
	}
}

func TestDeviceEndOfFile(t *testing.T) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			d, other := standIn(t, 1000)
			other.Close()
			if _, err := m.port(d).Read(); err != io.EOF {
				t.Errorf("got %v, want io.EOF", err)
			}
		})
	}
}

func TestDeviceCloseEndsReadAndWrite(t *testing.T) {
	eachMedium(t, func(t *testing.T, _ medium, p Port, _ fakeDriver) {
		ended := make(chan error, 1)
		go func() {
			_, err := p.Read()
			ended <- err
		}()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != os.ErrClosed {
			t.Errorf("read: got %v, want os.ErrClosed", err)
		}
		if err := write(p, Response{NetFn: 7}); err != os.ErrClosed {
			t.Errorf("write: got %v, want os.ErrClosed", err)
		}
	})
}

func TestDeviceInterruptedReadIsMadeAgain(t *testing.T) {
	eachMedium(t, func(t *testing.T, m medium, _ Port, _ fakeDriver) {
		d, other := standIn(t, 1000)
		f := m.driver(&driver{t: t, wake: other, taken: make(chan struct{}, 1)})
		calls := 0
		d.poll = f.poll
		d.read = func(fd int, b []byte) (int, error) {
			if calls++; calls == 1 {
				return -1, unix.EINTR
			}
			return f.read(fd, b)
		}
		f.asks(1, 0x18, 1)
		reads(t, m.port(d))
	})
}

func TestOpenDeviceFails(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "ipmi-kcs3")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := plain + "0"
	for name, open := range map[string]func(string) (Port, error){
		"kcs":  func(path string) (Port, error) { return OpenKCS(path) },
		"bt":   func(path string) (Port, error) { return OpenBT(path) },
		"ssif": func(path string) (Port, error) { return OpenSSIF(path) },
	} {
		if _, err := open(absent); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "open "+absent+": ") {
			t.Errorf("%s, no node: %v", name, err)
		}
		if _, err := open(plain); !errors.Is(err, chardev.ErrNotDevice) {
			t.Errorf("%s, regular file: %v", name, err)
		}
		p, err := open("/dev/ptmx")
		if err != nil {
			t.Errorf("%s, character device: %v", name, err)
			continue
		}
		p.Close()
	}
}

func TestOpenDeviceOfAnotherProgram(t *testing.T) {
	err := openError("/dev/ipmi-kcs3", unix.EBUSY)
	if want := "open /dev/ipmi-kcs3: device or resource busy: another program serves this host"; !errors.Is(err, unix.EBUSY) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPollTellsOfTheRealDevice(t *testing.T) {
	d, other := standIn(t, 1000)
	look := func() (ready int16) {
		err := d.control("poll", func(fd int) (err error) {
			ready, err = d.poll(fd, unix.POLLIN|unix.POLLOUT, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ready
	}
	if got := look(); got != unix.POLLOUT {
		t.Errorf("idle: %#x", got)
	}
	if _, err := other.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != unix.POLLIN|unix.POLLOUT {
		t.Errorf("something to read: %#x", got)
	}
}
