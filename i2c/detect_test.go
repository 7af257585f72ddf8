package i2c

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"ipmbd/internal/chardev"
)

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

// Who names an unknown driver's framing in the configuration is believed.
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
