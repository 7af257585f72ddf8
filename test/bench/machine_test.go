package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machineAndBMC is a machine and the socket of its BMC, which has received the greeting.
func machineAndBMC(t *testing.T) (*machine, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMachine(connection{fds[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(m.fd) })
	mustHear(t, fds[1], vmGreeting)
	return m, fds[1]
}

func mustHear(t *testing.T, fd int, want []byte) {
	t.Helper()
	b := make([]byte, 64)
	if n, err := read(fd, b); err != nil || !slices.Equal(b[:n], want) {
		t.Fatalf("heard % X, %v, want % X", b[:n], err, want)
	}
}

// vmAnswer is Get Device ID's answer with 15 bytes of data, as sent.
func vmAnswer(sequence byte) []byte {
	b := append([]byte{sequence, 0x1C, 1, 0}, deviceID...)
	b = append(b, -byteSum(b))
	var out []byte
	for _, c := range b {
		if c == 0xA0 || c == 0xA1 || c == 0xAA {
			out = append(out, 0xAA)
			c |= 0x10
		}
		out = append(out, c)
	}
	return append(out, 0xA0)
}

func TestMachineAsksForTheDeviceID(t *testing.T) {
	m, bmc := machineAndBMC(t)
	defer unix.Close(bmc)
	for range 300 { // all numbers, those that are escaped too
		m.ask(0)
		if err := m.send(); err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, 64)
		n, err := read(bmc, heard)
		if err != nil {
			t.Fatal(err)
		}
		request := appendUnescaped(nil, heard[:n-1])
		if len(request) != 4 || byteSum(request) != 0 || heard[n-1] != 0xA0 || bytes.IndexByte(heard[:n], 0xA0) != n-1 {
			t.Fatalf("asked % X", heard[:n])
		}
		if err := write(bmc, vmAnswer(request[0])); err != nil {
			t.Fatal(err)
		}
		if slots, err := m.answers(); err != nil || !slices.Equal(slots, []int{0}) {
			t.Fatal(slots, err)
		}
	}
}

func TestMachinePassesOverCommands(t *testing.T) {
	m, bmc := machineAndBMC(t)
	defer unix.Close(bmc)
	m.ask(0)
	// Our greeting comes late, and the answer in two parts.
	answer := vmAnswer(1)
	parts := [][]byte{{0xFF, 1, 0xA1, 2, 0xA1}, answer[:7], answer[7:]}
	go func() {
		for _, b := range parts {
			_ = write(bmc, b)
		}
	}()
	if _, err := m.answers(); err != nil || len(m.in) > 0 {
		t.Errorf("%v, % X are left", err, m.in)
	}
}

func TestMachineRefusesWrongAnswers(t *testing.T) {
	sum := vmAnswer(1)
	sum[len(sum)-2] ^= 1
	for name, answer := range map[string][]byte{
		"another number":   vmAnswer(2),
		"a wrong checksum": sum,
		"a refusal":        {0x01, 0x1C, 0x01, 0xC1, 0x21, 0xA0},
		"nothing":          {0xA0},
	} {
		m, bmc := machineAndBMC(t)
		m.ask(0)
		if err := write(bmc, answer); err != nil {
			t.Fatal(err)
		}
		if _, err := m.answers(); err == nil || !strings.Contains(err.Error(), "not the device ID") {
			t.Errorf("%s: %v", name, err)
		}
		unix.Close(bmc)
	}
}

func TestMachineHearsItsBMCGo(t *testing.T) {
	m, bmc := machineAndBMC(t)
	m.ask(0)
	if err := write(bmc, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	unix.Close(bmc)
	if _, err := m.answers(); !errors.Is(err, errHungUp) {
		t.Error(err)
	}
}

func TestMachineHasNoRoomForNonsense(t *testing.T) {
	m, bmc := machineAndBMC(t)
	defer unix.Close(bmc)
	if err := write(bmc, make([]byte, cap(m.in))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.answers(); err == nil || !strings.Contains(err.Error(), "no end") {
		t.Error(err)
	}
}

func TestOnProcessorEndsWithIt(t *testing.T) {
	before, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1]
	err = onProcessor(last, func() error {
		only, err := processors()
		if !slices.Equal(only, []int{last}) {
			t.Errorf("on %v, want %d", only, last)
		}
		return errors.Join(err, errLink)
	})
	if !errors.Is(err, errLink) {
		t.Error(err)
	}
	if after, err := processors(); err != nil || !slices.Equal(after, before) {
		t.Errorf("on %v, %v; before on %v", after, err, before)
	}
}

func TestWithoutSimulatorOneLineSaysSo(t *testing.T) {
	program := buildIPMBD(t)
	dbus := t.TempDir()
	linkProgram(t, dbus, "dbus-daemon")
	t.Setenv("PATH", dbus)
	var out strings.Builder
	if err := measureVM(t.Context(), options{ipmbd: program, rounds: 1, quick: true}, &out, nil); err != nil {
		t.Fatal(err)
	}
	mustHaveNoChildren(t)
	if text := out.String(); !strings.Contains(text, "ipmi_sim is not installed") || strings.Contains(text, "ipmbd / ipmi_sim") ||
		!strings.Contains(text, "ipmbd, Unix socket") {
		t.Error(text)
	}
}
