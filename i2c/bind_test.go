package i2c

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernel is a machine whose new_device and delete_device work, as
// drivers/i2c/i2c-core-base.c has them.
type kernel struct {
	*machine
	made    map[string]bool   // by new_device
	loaded  map[string]bool   // drivers, by the name that new_device takes
	probe   error             // the result of probes
	onProbe func(node func()) // makes the node of a probe, at once by default
	writes  []string
}

func newKernel(t *testing.T) *kernel {
	k := &kernel{
		machine: newMachine(t),
		made:    map[string]bool{},
		loaded:  map[string]bool{},
		onProbe: func(node func()) { node() },
	}
	k.store = k.write
	k.adapter(4)
	k.folder(k.path("/dev"))
	for transport, driver := range drivers {
		k.loaded[transport] = true
		k.load(driver)
	}
	return k
}

// unload takes a driver's module out before the test begins.
func (k *kernel) unload(transport string) {
	delete(k.loaded, transport)
	os.Remove(k.path("/sys/bus/i2c/drivers/" + drivers[transport]))
}

func (k *kernel) write(path, value string) error {
	k.writes = append(k.writes, value)
	var bus, address int
	if n, _ := fmt.Sscanf(filepath.Base(filepath.Dir(path)), "i2c-%d", &bus); n != 1 {
		return unix.ENOENT
	}
	if filepath.Base(path) == "delete_device" {
		if n, _ := fmt.Sscanf(value, "0x%x\n", &address); n != 1 {
			return unix.EINVAL
		}
		return k.deleteDevice(bus, fmt.Sprintf("%d-%04x", bus, address))
	}
	var transport string
	if n, _ := fmt.Sscanf(value, "%s 0x%x\n", &transport, &address); n != 2 {
		return unix.EINVAL
	}
	return k.newDevice(bus, transport, fmt.Sprintf("%d-%04x", bus, address))
}

func (k *kernel) newDevice(bus int, transport, name string) error {
	if exists(k.path(filepath.Join(devices, name))) {
		return unix.EBUSY
	}
	k.made[name] = true
	k.client(name, "")
	if k.loaded[transport] {
		k.probeDevice(bus, transport, name)
	}
	return nil
}

// probeDevice is the driver's probe, whose failure is not reported.
func (k *kernel) probeDevice(bus int, transport, name string) {
	folder := k.path(filepath.Join(devices, name))
	misc := k.path(fmt.Sprintf("/sys/class/misc/ipmb-%d", bus))
	if k.probe != nil || transport != SlaveMqueue && exists(misc) {
		return
	}
	k.load(drivers[transport])
	k.link("../../drivers/"+drivers[transport], filepath.Join(folder, "driver"))
	if transport == SlaveMqueue {
		k.onProbe(func() { k.file(filepath.Join(folder, SlaveMqueue)) })
		return
	}
	k.link("../../../bus/i2c/devices/"+name, filepath.Join(misc, "device"))
	k.onProbe(func() { k.link("/dev/ptmx", k.path(fmt.Sprintf("/dev/ipmb-%d", bus))) })
}

func (k *kernel) deleteDevice(bus int, name string) error {
	if !k.made[name] {
		return unix.ENOENT
	}
	delete(k.made, name)
	misc := k.path(fmt.Sprintf("/sys/class/misc/ipmb-%d", bus))
	if link, _ := os.Readlink(filepath.Join(misc, "device")); filepath.Base(link) == name {
		os.RemoveAll(misc)
		os.Remove(k.path(fmt.Sprintf("/dev/ipmb-%d", bus)))
	}
	return os.RemoveAll(k.path(filepath.Join(devices, name)))
}

func (k *kernel) wrote(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Join(k.writes, ""); got != strings.Join(want, "") {
		t.Errorf("written %q, want %q", got, want)
	}
	k.writes = nil
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestBindAndUnbind(t *testing.T) {
	for _, c := range []struct {
		binding        Binding
		create, remove string
	}{
		{Binding{4, IPMBDev, 0x20}, "ipmb-dev 0x1010\n", "0x1010\n"},
		{Binding{4, IPMBDevice, 0x2C}, "ipmb-device 0x1016\n", "0x1016\n"},
		{Binding{4, SlaveMqueue, 0xEE}, "slave-mqueue 0x1077\n", "0x1077\n"},
	} {
		t.Run(c.binding.Driver, func(t *testing.T) {
			k := newKernel(t)
			node := k.path(c.binding.Node())
			if err := k.bind(t.Context(), c.binding); err != nil || !exists(node) {
				t.Fatalf("got %v, node %v", err, exists(node))
			}
			k.wrote(t, c.create)
			if err := k.bind(t.Context(), c.binding); err != nil || !exists(node) {
				t.Fatalf("again: got %v, node %v", err, exists(node))
			}
			k.wrote(t)
			if err := k.unbind(c.binding); err != nil || exists(node) {
				t.Fatalf("unbind: got %v, node %v", err, exists(node))
			}
			k.wrote(t, c.remove)
			if err := k.unbind(c.binding); err != nil {
				t.Fatalf("unbind again: got %v", err)
			}
			k.wrote(t)
		})
	}
}

// Each change deletes the device of the address before it, whichever that was.
func TestBindAtOneAddressAfterAnother(t *testing.T) {
	k := newKernel(t)
	b := Binding{4, IPMBDev, 0x20}
	if err := k.bind(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []uint8{0x22, 0x24, 0x20} {
		if err := k.unbind(b); err != nil {
			t.Fatal(err)
		}
		b.Addr = addr
		if err := k.bind(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	k.wrote(t, "ipmb-dev 0x1010\n", "0x1010\n", "ipmb-dev 0x1011\n", "0x1011\n", "ipmb-dev 0x1012\n", "0x1012\n", "ipmb-dev 0x1010\n")
}

func TestBindWaitsForTheNode(t *testing.T) {
	k := newKernel(t)
	made := make(chan struct{})
	k.onProbe = func(node func()) {
		go func() {
			node()
			close(made)
		}()
	}
	if err := k.bind(t.Context(), Binding{4, IPMBDev, 0x20}); err != nil {
		t.Fatal(err)
	}
	<-made
	if !exists(k.path("/dev/ipmb-4")) {
		t.Fatal("no node")
	}
}

func TestBindWaitsForTheModule(t *testing.T) {
	k := newKernel(t)
	k.unload(IPMBDev)
	store := k.store
	loaded := make(chan struct{})
	k.store = func(path, value string) error {
		err := store(path, value)
		go func() {
			k.probeDevice(4, IPMBDev, "4-1010")
			close(loaded)
		}()
		return err
	}
	if err := k.bind(t.Context(), Binding{4, IPMBDev, 0x20}); err != nil {
		t.Fatal(err)
	}
	<-loaded
}

func TestBindTakesADeviceThatTheFirmwareMade(t *testing.T) {
	k := newKernel(t)
	k.node(4, k.client("4-1010", "ipmb-dev"))
	b := Binding{4, IPMBDev, 0x20}
	if err := k.bind(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := k.unbind(b); !errors.Is(err, ErrFirmware) {
		t.Fatalf("unbind: got %v, want ErrFirmware", err)
	}
	k.wrote(t, "0x1010\n")
}

// A device that was made before its module was there is made again.
func TestRemovable(t *testing.T) {
	for _, tt := range []struct {
		name, node string
		fixed      bool
	}{
		{"made by new_device", "", false},
		{"of the device tree", "of_node", true},
		{"of ACPI", "firmware_node", true},
		{"with properties that a module has added", "software_node", false},
	} {
		for _, driver := range []string{IPMBDev, SlaveMqueue} {
			t.Run(tt.name+", "+driver, func(t *testing.T) {
				k := newKernel(t)
				b := Binding{Bus: 4, Driver: driver, Addr: 0x20}
				if err := k.bind(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if tt.node != "" {
					k.folder(filepath.Join(k.system.folder(b), tt.node))
				}
				path := b.Node()
				if driver != SlaveMqueue {
					path = k.path(path)
					k.link(k.path("/sys/class/misc/ipmb-4"), k.path("/sys/dev/char/5:2"))
				}
				if err := k.removable(path); errors.Is(err, ErrFirmware) != tt.fixed {
					t.Errorf("%v", err)
				}
			})
		}
	}
	if err := newKernel(t).removable("/dev/ipmb-4"); err != nil {
		t.Errorf("a missing device: %v", err)
	}
}

func TestBindReplacesADeviceThatNobodyServes(t *testing.T) {
	k := newKernel(t)
	k.client("4-1010", "")
	k.made["4-1010"] = true
	if err := k.bind(t.Context(), Binding{4, IPMBDev, 0x20}); err != nil {
		t.Fatal(err)
	}
	k.wrote(t, "0x1010\n", "ipmb-dev 0x1010\n")
}

func TestBindFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(k *kernel)
		binding Binding
		want    error
		text    string
	}{
		{
			"not a binding", func(*kernel) {}, Binding{4, IPMBDev, 0x21},
			nil, "bind ipmb-dev at 21h on i2c-4: own address 21h is not an even one from 10h to EEh",
		},
		{
			"no adapter", func(*kernel) {}, Binding{5, IPMBDev, 0x20},
			ErrNoAdapter, "bind ipmb-dev at 20h on i2c-5: no such I2C adapter",
		},
		{
			"module not loaded", func(k *kernel) { k.unload(IPMBDev) }, Binding{4, IPMBDev, 0x20},
			ErrNoDriver, "bind ipmb-dev at 20h on i2c-4: the driver did not take the device: context deadline exceeded",
		},
		{
			"probe fails", func(k *kernel) { k.probe = unix.EOPNOTSUPP }, Binding{4, IPMBDev, 0x20},
			ErrNoDriver, "bind ipmb-dev at 20h on i2c-4: the driver did not take the device",
		},
		{
			"node does not come", func(k *kernel) { k.onProbe = func(func()) {} }, Binding{4, IPMBDev, 0x20},
			context.DeadlineExceeded, "bind ipmb-dev at 20h on i2c-4: /dev/ipmb-4 has not appeared: context deadline exceeded",
		},
		{
			"another driver at the address", func(k *kernel) { k.client("4-1010", "i2c-slave-mqueue") }, Binding{4, IPMBDev, 0x20},
			ErrInUse, "bind ipmb-dev at 20h on i2c-4: in use: driver i2c-slave-mqueue has 4-1010",
		},
		{
			"another address has the node", func(k *kernel) { k.node(4, k.client("4-1011", "ipmb-dev")) }, Binding{4, IPMBDev, 0x20},
			ErrInUse, "bind ipmb-dev at 20h on i2c-4: in use: 4-1011 of driver ipmb-dev has /dev/ipmb-4",
		},
		{
			"another driver has the node", func(k *kernel) { k.node(4, k.client("4-1010", "ipmb-device")) }, Binding{4, IPMBDev, 0x20},
			ErrInUse, "bind ipmb-dev at 20h on i2c-4: in use: driver ipmb-device has 4-1010",
		},
		{
			"the firmware's device without a driver", func(k *kernel) { k.client("4-1010", "") }, Binding{4, IPMBDev, 0x20},
			ErrNoDriver, "bind ipmb-dev at 20h on i2c-4: the driver did not take the device: 4-1010 is there, and cannot be deleted (no such file or directory)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t)
			c.prepare(k)
			err := k.bind(soon(t), c.binding)
			if err == nil || err.Error() != c.text || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %q", err, c.text)
			}
			if c.want == ErrNoDriver && len(k.made) != 0 {
				t.Error("left a device that nobody serves")
			}
		})
	}
}

func TestBindErrorsOfNewDevice(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.EBUSY:  ErrInUse,
		unix.EEXIST: ErrInUse,
		unix.ENOENT: ErrNoAdapter,
		unix.EACCES: unix.EACCES,
		unix.EINVAL: unix.EINVAL,
	} {
		k := newKernel(t)
		k.store = func(string, string) error { return errno }
		if err := k.bind(t.Context(), Binding{4, IPMBDev, 0x20}); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", errno, err, want)
		}
	}
}

func TestUnbindFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		driver  string
		binding Binding
		want    error
		text    string
	}{
		{
			"not a binding", "ipmb-dev", Binding{4, "eeprom", 0x20},
			nil, `unbind eeprom at 20h on i2c-4: driver "eeprom" is not one that can be bound`,
		},
		{
			"another driver", "i2c-slave-mqueue", Binding{4, IPMBDev, 0x20},
			ErrInUse, "unbind ipmb-dev at 20h on i2c-4: in use: driver i2c-slave-mqueue has 4-1010",
		},
		{
			"the firmware's", "ipmb-dev", Binding{4, IPMBDev, 0x20},
			ErrFirmware, "unbind ipmb-dev at 20h on i2c-4: declared by the firmware",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t)
			folder := k.client("4-1010", c.driver)
			err := k.unbind(c.binding)
			if err == nil || err.Error() != c.text || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %q", err, c.text)
			}
			if !exists(folder) {
				t.Error("the device was deleted")
			}
		})
	}
}

func TestUnbindOfWhatAnotherDeletesMeanwhile(t *testing.T) {
	k := newKernel(t)
	b := Binding{4, IPMBDev, 0x20}
	if err := k.bind(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	k.store = func(path, value string) error {
		if err := k.deleteDevice(4, "4-1010"); err != nil {
			t.Error(err)
		}
		return k.write(path, value)
	}
	if err := k.unbind(b); err != nil {
		t.Fatal(err)
	}
}

func TestStoreAttribute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new_device")
	if err := storeAttribute(path, "x"); err != unix.ENOENT {
		t.Errorf("no attribute: got %v, want ENOENT", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := storeAttribute(path, "ipmb-dev 0x1010\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "ipmb-dev 0x1010\n" {
		t.Errorf("got %q", got)
	}
	if err := storeAttribute("/dev/full", "x"); err != unix.ENOSPC {
		t.Errorf("refused value: got %v, want ENOSPC", err)
	}
}

func TestBindingNames(t *testing.T) {
	for _, c := range []struct {
		binding            Binding
		text, client, node string
	}{
		{Binding{4, IPMBDev, 0x20}, "ipmb-dev at 20h on i2c-4", "4-1010", "/dev/ipmb-4"},
		{Binding{11, IPMBDevice, 0x2C}, "ipmb-device at 2Ch on i2c-11", "11-1016", "/dev/ipmb-11"},
		{Binding{0, SlaveMqueue, 0xEE}, "slave-mqueue at EEh on i2c-0", "0-1077", "/sys/bus/i2c/devices/0-1077/slave-mqueue"},
	} {
		if got := c.binding.String(); got != c.text {
			t.Errorf("got %q, want %q", got, c.text)
		}
		if got := c.binding.Node(); got != c.node {
			t.Errorf("%s: node %q, want %q", c.text, got, c.node)
		}
		if got := c.binding.client(); got != c.client {
			t.Errorf("%s: client %q, want %q", c.text, got, c.client)
		}
		parsed, err := parseClient(c.client)
		parsed.Driver = c.binding.Driver
		if parsed != c.binding || err != nil {
			t.Errorf("%s: parsed as %v, %v", c.client, parsed, err)
		}
	}
}

func TestClientsThatAreNoBinding(t *testing.T) {
	for _, name := range []string{
		"", "4", "4-", "-1010", "4-0050", "4-a050", "4-1080", "4-11010", "4-zz", "x-1010", "-4-1010", "i2c-4", "99999999999-1010", "4-1010-1",
	} {
		if b, err := parseClient(name); b != (Binding{}) || err == nil {
			t.Errorf("%q: got %v, %v, want an error", name, b, err)
		}
	}
}

func TestBindingValidate(t *testing.T) {
	for _, c := range []struct {
		name    string
		binding Binding
		text    string
	}{
		{"lowest address", Binding{0, IPMBDev, 0x10}, ""},
		{"highest address", Binding{0, SlaveMqueue, 0xEE}, ""},
		{"address the I2C bus reserves", Binding{4, IPMBDev, 0x0E}, "own address 0Eh is not an even one from 10h to EEh"},
		{"10-bit addresses' prefix", Binding{4, IPMBDev, 0xF0}, "own address F0h is not an even one from 10h to EEh"},
		{"7-bit form", Binding{4, IPMBDev, 0x21}, "own address 21h is not an even one from 10h to EEh"},
		{"no driver", Binding{4, "", 0x20}, `driver "" is not one that can be bound`},
		{"socket", Binding{4, Seqpacket, 0x20}, `driver "seqpacket" is not one that can be bound`},
		{"name with a blank", Binding{4, "ipmb-dev 0x50", 0x20}, `driver "ipmb-dev 0x50" is not one that can be bound`},
		{"negative bus", Binding{-1, IPMBDev, 0x20}, "bus -1: no such I2C adapter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.binding.validate()
			if (err == nil) != (c.text == "") || err != nil && err.Error() != c.text {
				t.Fatalf("got %v, want %q", err, c.text)
			}
		})
	}
	if err := (Binding{-1, IPMBDev, 0x20}).validate(); !errors.Is(err, ErrNoAdapter) {
		t.Errorf("got %v, want ErrNoAdapter", err)
	}
}
