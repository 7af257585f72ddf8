package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ipmbd/ipmi"
)

// ports is how many adapters the virtual bus has.
const ports = 4

// parameters are the speed, the faults and the counters of the virtual bus.
const parameters = "/sys/module/i2c_loop/parameters"

// Times of a byte in microseconds.
const (
	byteAt100kHz = 90
	byteAt400kHz = 23
)

// loop is the virtual bus, without faults and at no speed.
type loop struct {
	adapters [ports]int // the kernel's numbers
}

func newLoop(t *testing.T) *loop {
	t.Helper()
	load(t, "i2c-loop", fmt.Sprint("ports=", ports))
	l := &loop{}
	for i := range l.adapters {
		l.adapters[i] = adapterNamed(t, fmt.Sprint("i2c-loop ", i))
	}
	for counter := range l.counters(t) {
		l.write(t, counter, 0)
	}
	return l
}

// adapterNamed is the number of the I2C adapter of a name.
func adapterNamed(t *testing.T, name string) int {
	t.Helper()
	files, err := filepath.Glob("/sys/bus/i2c/devices/i2c-*/name")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if readText(t, file) != name {
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "i2c-"))
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	t.Fatalf("no I2C adapter %q", name)
	return 0
}

// set sets a speed or a fault until the test ends.
func (l *loop) set(t *testing.T, parameter string, value int) {
	t.Helper()
	l.write(t, parameter, value)
	t.Cleanup(func() { l.write(t, parameter, 0) })
}

func (l *loop) write(t *testing.T, parameter string, value int) {
	t.Helper()
	writeText(t, filepath.Join(parameters, parameter), strconv.Itoa(value))
}

// counters are the bus's own counters, by names such as n_nack.
func (l *loop) counters(t *testing.T) map[string]uint64 {
	t.Helper()
	files, err := filepath.Glob(parameters + "/n_*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no counters: %v", parameters, err)
	}
	counters := make(map[string]uint64, len(files))
	for _, file := range files {
		n, err := strconv.ParseUint(readText(t, file), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		counters[filepath.Base(file)] = n
	}
	return counters
}

// create makes a port a device with an own address, and remove deletes it,
// through the files that the I2C core has for it
// (Documentation/i2c/instantiating-devices.rst). 1000h is the flag for an own
// address.
func (l *loop) create(t *testing.T, port int, driver string, address ipmi.Address) {
	t.Helper()
	writeText(t, l.adapter(port)+"/new_device", fmt.Sprintf("%s 0x%04x", driver, 0x1000+int(address>>1)))
}

func (l *loop) remove(t *testing.T, port int, address ipmi.Address) {
	t.Helper()
	writeText(t, l.adapter(port)+"/delete_device", fmt.Sprintf("0x%04x", 0x1000+int(address>>1)))
}

func (l *loop) adapter(port int) string {
	return fmt.Sprint("/sys/bus/i2c/devices/i2c-", l.adapters[port])
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatalf("%q to %v", text, err)
	}
}
