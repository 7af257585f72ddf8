package i2c

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ipmbd/internal/chardev"

	"golang.org/x/sys/unix"
)

// machine is a system whose /sys and /dev are below a folder of the test's.
type machine struct {
	system
	t *testing.T
}

func newMachine(t *testing.T) *machine {
	m := &machine{system: system{root: t.TempDir()}, t: t}
	m.store = func(path, value string) error {
		t.Errorf("%q is written to %s", value, path)
		return unix.EIO
	}
	return m
}

// path is a path below the root.
func (m *machine) path(path string) string { return filepath.Join(m.root, path) }

func (m *machine) folder(path string) {
	m.t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) file(path string) {
	m.t.Helper()
	m.folder(filepath.Dir(path))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) link(target, path string) {
	m.t.Helper()
	m.folder(filepath.Dir(path))
	if err := os.Symlink(target, path); err != nil {
		m.t.Fatal(err)
	}
}

// adapter makes the I2C adapter of a number.
func (m *machine) adapter(bus int) {
	m.t.Helper()
	m.folder(m.path(fmt.Sprintf("%s/i2c-%d", devices, bus)))
}

// load registers a driver.
func (m *machine) load(driver string) {
	m.t.Helper()
	m.folder(m.path("/sys/bus/i2c/drivers/" + driver))
}

// client makes an I2C device, which a driver serves unless that is "".
func (m *machine) client(name, driver string) (folder string) {
	m.t.Helper()
	folder = m.path(filepath.Join(devices, name))
	m.folder(folder)
	if driver != "" {
		m.load(driver)
		m.link("../../drivers/"+driver, filepath.Join(folder, "driver"))
	}
	return folder
}

// node makes /dev/ipmb-N of the I2C device of a folder. It is a pseudo-terminal, since every
// machine has one, with poll.
func (m *machine) node(bus int, folder string) (path string) {
	m.t.Helper()
	path = m.path(fmt.Sprintf("/dev/ipmb-%d", bus))
	m.link("/dev/ptmx", path)
	misc := m.path(fmt.Sprintf("/sys/class/misc/ipmb-%d", bus))
	m.link("../../../bus/i2c/devices/"+filepath.Base(folder), filepath.Join(misc, "device"))
	m.link(misc, m.path("/sys/dev/char/5:2"))
	return path
}

// Some adapters are known to distinguish a NACK of the address byte.
func TestTellsAddressNACK(t *testing.T) {
	for _, c := range []struct {
		name, adapter, driver string
		want                  bool
	}{
		{"an adapter that tells", "1e78a080.i2c-bus/i2c-4", "aspeed-i2c-bus", true},
		{"behind multiplexers", "1e78a080.i2c-bus/i2c-4/i2c-20/i2c-31", "aspeed-i2c-bus", true},
		{"whose device has the name of its driver", "i2c-gpio.0/i2c-4", "i2c-gpio", true},
		{"one that has one errno for all bytes", "30a20000.i2c/i2c-4", "imx-i2c", false},
		{"one without a driver", "virtual/i2c-4", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			adapter := m.path("/sys/devices/" + c.adapter)
			m.folder(filepath.Join(adapter, "4-1010"))
			if c.driver != "" {
				m.link("../../bus/platform/drivers/"+c.driver, filepath.Join(m.path("/sys/devices"), strings.Split(c.adapter, "/")[0], "driver"))
			}
			m.link(adapter, m.path(devices+"/i2c-4"))
			if got := m.tellsAddressNACKOf(4); got != c.want {
				t.Errorf("the adapter tells: %v", got)
			}
			m.link(filepath.Join(adapter, "4-1010"), m.path(devices+"/4-1010"))
			path := m.node(4, "4-1010")
			if got := m.tellsAddressNACKAt(path); got != c.want {
				t.Errorf("the device's adapter tells: %v", got)
			}
		})
	}
}

func TestDetectDriver(t *testing.T) {
	for driver, want := range map[string]string{
		"ipmb-dev":    IPMBDev,
		"ipmb-device": IPMBDevice,
	} {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t)
			node := m.node(4, m.client("4-1010", driver))
			if got, err := m.detect(node); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			alias := m.path("/dev/ipmb-me")
			m.link("ipmb-4", alias)
			if got, err := m.detect(alias); got != want || err != nil {
				t.Errorf("by another name: got %q, %v, want %q", got, err, want)
			}
			if got, err := m.bindingOf(alias); got != (Binding{4, want, 0x20}) || err != nil {
				t.Errorf("binding: got %v, %v", got, err)
			}
		})
	}
}

func TestDetectOtherThanDevices(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := newMachine(t)
	attribute := m.path(Binding{4, SlaveMqueue, 0x20}.Node())
	m.file(attribute)
	for path, want := range map[string]string{
		socket:    Seqpacket,
		attribute: SlaveMqueue,
	} {
		if got, err := m.detect(path); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestDetectFails(t *testing.T) {
	m := newMachine(t)
	plain := m.path("/dev/plain")
	m.file(plain)
	if _, err := m.detect("/dev/ptmx"); !errors.Is(err, ErrUnknownDriver) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no entry in sysfs: got %v, want ErrUnknownDriver", err)
	}
	foreign := m.node(4, m.client("4-1010", "acme-ipmb"))
	for _, c := range []struct {
		name, path string
		want       error
		text       string
	}{
		{"nothing there", m.path("/dev/ipmb-9"), os.ErrNotExist, "detect " + m.path("/dev/ipmb-9") + ": no such file or directory"},
		{"regular file", plain, chardev.ErrNotDevice, "detect " + plain + ": not a character device"},
		{"unknown driver", foreign, ErrUnknownDriver, "detect " + foreign + `: driver not known: "acme-ipmb"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := m.detect(c.path)
			if got != "" || !errors.Is(err, c.want) || err.Error() != c.text {
				t.Errorf("got %q, %v, want %q", got, err, c.text)
			}
		})
	}
}

// The framing of an unknown driver in the configuration is believed.
func TestCheckDriver(t *testing.T) {
	for _, c := range []struct {
		driver, transport string
		want              error
	}{
		{"ipmb-dev", IPMBDev, nil},
		{"ipmb-device", IPMBDevice, nil},
		{"ipmb-dev", IPMBDevice, ErrOtherDriver},
		{"ipmb-device", IPMBDev, ErrOtherDriver},
		{"acme-ipmb", IPMBDev, nil},
		{"", IPMBDevice, nil},
	} {
		m := newMachine(t)
		node := m.node(4, m.client("4-1010", c.driver))
		if err := m.checkDriver(node, c.transport); !errors.Is(err, c.want) {
			t.Errorf("driver %q as %s: got %v, want %v", c.driver, c.transport, err, c.want)
		}
	}
}

func TestBindingOfFails(t *testing.T) {
	m := newMachine(t)
	if b, err := m.bindingOf("/dev/ptmx"); b != (Binding{}) || !errors.Is(err, ErrUnknownDriver) {
		t.Errorf("no entry in sysfs: got %v, %v, want ErrUnknownDriver", b, err)
	}
	node := m.node(4, m.client("i2c-IPMB0001:00", "ipmb-dev"))
	if b, err := m.bindingOf(node); b != (Binding{}) || err == nil {
		t.Errorf("ACPI's name: got %v, %v", b, err)
	}
}

// Devices of every driver are found, whoever has made them. Other files are not taken for one.
func TestDevices(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{
		"ipmb-0", "ipmb-10", "ipmb-9", "ipmb-", "ipmb-x", "ipmb-07", "ipmb--1", "ipmb-1a", "ipmi0", "i2c-4",
	} {
		m.file(m.path("/dev/" + name))
	}
	for _, client := range []string{"4-1010", "4-1012", "9-1020", "4-0050", "i2c-4"} {
		m.file(m.path(filepath.Join(devices, client, SlaveMqueue)))
	}
	m.file(m.path(filepath.Join(devices, "5-1010", "name")))
	want := []string{
		"/dev/ipmb-0", devices + "/4-1010/slave-mqueue", devices + "/4-1012/slave-mqueue",
		"/dev/ipmb-9", devices + "/9-1020/slave-mqueue", "/dev/ipmb-10",
	}
	if got := m.devices(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestBindingOfAnAttribute(t *testing.T) {
	m := newMachine(t)
	path := m.path(filepath.Join(devices, "4-1016", SlaveMqueue))
	if _, err := m.bindingOf(path); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without it: %v", err)
	}
	m.file(path)
	if b, err := m.bindingOf(path); err != nil || b != (Binding{Bus: 4, Driver: SlaveMqueue, Addr: 0x2C}) {
		t.Errorf("%v, %v", b, err)
	}
	elsewhere := m.path("/run/slave-mqueue")
	m.file(elsewhere)
	if b, err := m.bindingOf(elsewhere); err == nil {
		t.Errorf("%v", b)
	}
}
