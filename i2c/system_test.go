package i2c

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

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

// node makes /dev/ipmb-N of the I2C device of a folder. It is a pseudo-terminal
// in truth, as every machine has one, with poll.
func (m *machine) node(bus int, folder string) (path string) {
	m.t.Helper()
	path = m.path(fmt.Sprintf("/dev/ipmb-%d", bus))
	m.link("/dev/ptmx", path)
	misc := m.path(fmt.Sprintf("/sys/class/misc/ipmb-%d", bus))
	m.link("../../../bus/i2c/devices/"+filepath.Base(folder), filepath.Join(misc, "device"))
	m.link(misc, m.path("/sys/dev/char/5:2"))
	return path
}
