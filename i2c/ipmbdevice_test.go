package i2c

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// ioctlRecorder plays the driver's side of its ioctls.
type ioctlRecorder struct {
	requests []uintptr
	results  map[uintptr]error
}

func (r *ioctlRecorder) ioctl(_ int, request uintptr) error {
	r.requests = append(r.requests, request)
	return r.results[request]
}

// Requests of ipmb_device.h as this machine has them.
var (
	enIgnoreNACK    = chardev.Request(217, 1)
	disIgnoreNACK   = chardev.Request(217, 2)
	enableChecksum  = chardev.Request(217, 3)
	disableChecksum = chardev.Request(217, 4)
)

func openIPMBDevice(t *testing.T) (*ipmbDevice, *os.File, *ioctlRecorder) {
	t.Helper()
	s := framings[1].standIn(t)
	d := s.Transport.(*ipmbDevice)
	recorder := &ioctlRecorder{results: map[uintptr]error{}}
	d.ioctl = recorder.ioctl
	return d, s.driver, recorder
}

func TestIPMBDeviceSwitchesWhenOpened(t *testing.T) {
	for _, c := range []struct {
		name     string
		switches Switches
		requests []uintptr
	}{
		{"both off", Switches{}, []uintptr{disIgnoreNACK, disableChecksum}},
		{"ignore NACK", Switches{IgnoreNACK: true}, []uintptr{enIgnoreNACK, disableChecksum}},
		{"verify checksum", Switches{VerifyChecksum: true}, []uintptr{disIgnoreNACK, enableChecksum}},
		{"both on", Switches{true, true}, []uintptr{enIgnoreNACK, enableChecksum}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _, recorder := openIPMBDevice(t)
			d.setAll(c.switches)
			if !slices.Equal(recorder.requests, c.requests) {
				t.Errorf("requests %X, want %X", recorder.requests, c.requests)
			}
			if got := d.Switches(); got != c.switches {
				t.Errorf("switches %+v, want %+v", got, c.switches)
			}
			if warning := d.Warning(); warning != "" {
				t.Errorf("warning %q", warning)
			}
		})
	}
}

func TestIPMBDeviceWarnsOfASwitchThatCannotBeSet(t *testing.T) {
	d, _, recorder := openIPMBDevice(t)
	recorder.results[enIgnoreNACK] = unix.EOPNOTSUPP
	d.setAll(Switches{IgnoreNACK: true, VerifyChecksum: true})
	if got, want := d.Switches(), (Switches{VerifyChecksum: true}); got != want {
		t.Errorf("switches %+v, want %+v", got, want)
	}
	if got, want := d.Warning(), "set ignore-nack on /dev/ipmb-4: operation not supported"; got != want {
		t.Errorf("warning %q, want %q", got, want)
	}
}

func TestIPMBDeviceSwitchesAtRunTime(t *testing.T) {
	d, _, recorder := openIPMBDevice(t)
	var switcher Switcher = d
	for _, step := range []struct {
		set     func(bool) error
		on      bool
		request uintptr
		want    Switches
	}{
		{switcher.SetIgnoreNACK, true, enIgnoreNACK, Switches{IgnoreNACK: true}},
		{switcher.SetVerifyChecksum, true, enableChecksum, Switches{true, true}},
		{switcher.SetIgnoreNACK, false, disIgnoreNACK, Switches{VerifyChecksum: true}},
		{switcher.SetVerifyChecksum, false, disableChecksum, Switches{}},
	} {
		recorder.requests = nil
		if err := step.set(step.on); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(recorder.requests, []uintptr{step.request}) || switcher.Switches() != step.want {
			t.Fatalf("requests %X, switches %+v, want %X, %+v", recorder.requests, switcher.Switches(), step.request, step.want)
		}
	}
}

func TestIPMBDeviceSwitchThatCannotBeSetStaysAsItIs(t *testing.T) {
	d, _, recorder := openIPMBDevice(t)
	recorder.results[enIgnoreNACK] = unix.EOPNOTSUPP
	err := d.SetIgnoreNACK(true)
	if !errors.Is(err, errors.ErrUnsupported) || d.Switches() != (Switches{}) {
		t.Fatalf("got %v, %+v", err, d.Switches())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, set := range []func(bool) error{d.SetIgnoreNACK, d.SetVerifyChecksum} {
		if err := set(true); !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close: got %v, want ErrClosed", err)
		}
	}
}

// A driver without the requests says so through the real system call.
func TestOpenIPMBDeviceOnADeviceWithoutSwitches(t *testing.T) {
	d, err := OpenIPMBDevice("/dev/ptmx", Switches{IgnoreNACK: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.(Switcher).Switches(); got != (Switches{}) {
		t.Errorf("switches %+v", got)
	}
	warning := d.(Warner).Warning()
	for _, want := range []string{"set ignore-nack on /dev/ptmx: ", "; set verify-checksum on /dev/ptmx: "} {
		if !strings.Contains(warning, want) {
			t.Errorf("warning %q, want %q", warning, want)
		}
	}
	if got, want := d.Limits(), (Limits{MaxFrame: 255}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOpenIPMBDeviceFails(t *testing.T) {
	if d, err := OpenIPMBDevice(t.TempDir()+"/ipmb-4", Switches{}); d != nil || !errors.Is(err, unix.ENOENT) {
		t.Errorf("no node: got %v, %v", d, err)
	}
	m := newMachine(t)
	node := m.node(4, m.client("4-1010", "ipmb-dev"))
	if d, err := m.openIPMBDevice(node, Switches{}); d != nil || !errors.Is(err, ErrOtherDriver) {
		t.Errorf("mainline's driver: got %v, %v, want ErrOtherDriver", d, err)
	}
}

// For less than three bytes the driver's count of the following bytes wraps, and
// it hands out zeros for the rest: 256 bytes for a read transfer before any
// other, 257 for an address alone, 258 for an address and a byte.
func TestIPMBDeviceDropsNoise(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		noise  bool
	}{
		{"nothing written", make([]byte, 256), true},
		{"address alone", append([]byte{near}, make([]byte, 256)...), true},
		{"one byte written", append([]byte{near, 0x18}, make([]byte, 256)...), true},
		{"one byte that looks like a right checksum", append([]byte{near, 0xE0}, make([]byte, 256)...), true},
		{"one byte", []byte{near}, true},
		{"two bytes", []byte{near, 0x18}, true},
		{"three bytes", []byte{near, 0x18, 0xC8}, false},
		{"wrong header checksum", []byte{near, 0x18, 0xC9, far, 0, 1, 0xD3}, false},
		{"256 bytes", pattern(near, 256), false},
		{"257 bytes", pattern(near, 257), false},
		{"the longest", pattern(near, 258), false},
		{"zeros, but one", append(append([]byte{near}, make([]byte, 255)...), 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, driver, _ := openIPMBDevice(t)
			next := pattern(near, 7)
			push(t, driver, next)
			push(t, driver, c.packet)
			want, noise := [][]byte{c.packet, next}, uint64(0)
			if c.noise {
				want, noise = want[1:], 1
			}
			equal(t, read(t, d, len(want)), want)
			if n := counted(t, d, "dropped-noise"); n != noise {
				t.Fatalf("counted %d, want %d", n, noise)
			}
		})
	}
}

func TestIPMBDeviceNeverWritesWhatTheDriverMustNotSee(t *testing.T) {
	generalCall := append([]byte{0}, pattern(far, 7)...)
	for _, c := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"empty", nil, errEmpty},
		{"one byte", []byte{0}, errHeader},
		{"two bytes", []byte{far, -far & 0xFF}, errHeader},
		{"wrong header checksum", []byte{far, 0x18, 0xBD, near, 0, 1, 0xDF}, errHeader},
		{"general call", generalCall, errHeader},
		{"a length that wraps", pattern(far, 256), ErrTooLong},
		{"a length beyond the driver's", pattern(far, 260), ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _, _ := openIPMBDevice(t)
			d.write = func(_ int, b []byte) (int, error) {
				t.Errorf("written: % X", b)
				return len(b), nil
			}
			if err := d.WriteFrame(c.frame); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
