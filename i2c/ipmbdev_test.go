package i2c

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// packet is a frame as ipmb-dev has it.
func packet(frame []byte) []byte { return append([]byte{byte(len(frame))}, frame...) }

// unpack is the reverse of packet.
func unpack(t *testing.T, packet []byte) []byte {
	t.Helper()
	if len(packet) < 2 || int(packet[0]) != len(packet)-1 {
		t.Fatalf("driver was written % X", packet)
	}
	return packet[1:]
}

func openIPMBDev(t *testing.T) (*ipmbDev, *os.File) {
	t.Helper()
	s := framings[0].standIn(t)
	return s.Transport.(*ipmbDev), s.driver
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

func TestOpenIPMBDevRefusesAnotherDriversDevice(t *testing.T) {
	m := newMachine(t)
	node := m.node(4, m.client("4-1010", "ipmb-device"))
	d, err := m.openIPMBDev(node)
	if d != nil || !errors.Is(err, ErrOtherDriver) {
		t.Fatalf("got %v, %v, want ErrOtherDriver", d, err)
	}
	if want := "open " + node + ": another driver serves the device: ipmb-device, not ipmb-dev"; err.Error() != want {
		t.Fatalf("got %q, want %q", err, want)
	}
}

func TestIPMBDevProtocol(t *testing.T) {
	for _, c := range []struct {
		name        string
		properties  []string // files in the device's folder
		generalCall bool
		warns       bool
	}{
		{"device tree with i2c-protocol", []string{"of_node/reg", "of_node/i2c-protocol"}, true, false},
		{"device tree without i2c-protocol", []string{"of_node/reg"}, false, true},
		{"made by new_device", nil, false, true},
		{"software node, which sysfs does not show", []string{"software_node"}, false, false},
		{"device tree and a software node", []string{"of_node/reg", "software_node"}, false, false},
		{"ACPI, which sysfs does not show", []string{"firmware_node"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			folder := m.client("4-1010", "ipmb-dev")
			for _, name := range c.properties {
				m.file(filepath.Join(folder, name))
			}
			d, err := m.openIPMBDev(m.node(4, folder))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if got := d.Limits().GeneralCall; got != c.generalCall {
				t.Errorf("GeneralCall: %v, want %v", got, c.generalCall)
			}
			warning := d.(Warner).Warning()
			if c.warns != strings.Contains(warning, "i2c-protocol") || c.warns != (warning != "") {
				t.Errorf("warning %q", warning)
			}
		})
	}
}

func TestIPMBDevDoesNotWarnOfWhatItCannotTell(t *testing.T) {
	d, _ := openIPMBDev(t)
	if warning := d.Warning(); warning != "" {
		t.Fatalf("warning %q", warning)
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
			d, driver := openIPMBDev(t)
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

// The codec judges the second checksum: the driver does not.
func TestIPMBDevDeliversAFrameThatTheDriverCut(t *testing.T) {
	d, driver := openIPMBDev(t)
	cut := pattern(near, 239)[:238]
	push(t, driver, packet(cut))
	equal(t, read(t, d, 1), [][]byte{cut})
}

func TestIPMBDevNeverWritesWhatTheDriverMustNotSee(t *testing.T) {
	d, _ := openIPMBDev(t)
	d.write = func(_ int, b []byte) (int, error) {
		t.Errorf("written: % X", b)
		return len(b), nil
	}
	for _, c := range []struct {
		frame []byte
		want  error
	}{
		{nil, errEmpty},
		{pattern(far, 240), ErrTooLong},
		{pattern(far, 256), ErrTooLong},
		{pattern(far, 257), ErrTooLong},
	} {
		if err := d.WriteFrame(c.frame); !errors.Is(err, c.want) {
			t.Errorf("%d bytes: got %v, want %v", len(c.frame), err, c.want)
		}
	}
}

// The first versions of the driver took 128 bytes with the length byte.
func TestIPMBDevOldDriversLimit(t *testing.T) {
	for _, c := range []struct {
		length int
		errno  unix.Errno
		want   error
	}{
		{127, unix.EINVAL, ErrStuck},
		{128, unix.EINVAL, ErrTooLong},
		{239, unix.EINVAL, ErrTooLong},
		{239, unix.ENXIO, ErrNotAcknowledged},
	} {
		d, _ := openIPMBDev(t)
		d.write = func(int, []byte) (int, error) { return -1, c.errno }
		checkKind(t, d.WriteFrame(pattern(far, c.length)), c.errno, c.want)
	}
}
