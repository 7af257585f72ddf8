package inside

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// kernelAddress is the kernel's own address where it is the peer.
const kernelAddress ipmi.Address = 0x82

// kernelTimeout lets the kernel wait for an answer longer than 250 ms, which a busy machine's
// guest may need.
const kernelTimeout = "retry_time_ms=2000 max_retries=5"

// kernelPeer starts a daemon on port 0 and lets the kernel talk to it as to its
// management controller, from port 2 and for /dev/ipmi0 (ipmi_ipmb.c). The
// driver probes the controller once, so that must be there.
func kernelPeer(t *testing.T) *daemon {
	t.Helper()
	l := newLoop(t)
	load(t, "ipmi_msghandler", "")
	load(t, "ipmi_devintf", "")
	load(t, "ipmi_ipmb", kernelTimeout)
	l.set(t, "byte_us", byteAt100kHz)
	d := start(t, channel{"name": "bus", "type": "ipmb", "slave-path": ipmbDev.bind(t, l, 0, bmcAddress),
		"remote-addr": kernelAddress})
	l.create(t, 2, "ipmi-ipmb", kernelAddress)
	t.Cleanup(func() { l.remove(t, 2, kernelAddress) })
	if _, err := os.Stat("/dev/ipmi0"); err != nil {
		t.Fatalf("the kernel has not found its management controller: %v", err)
	}
	return d
}

func TestKernelIsAClient(t *testing.T) {
	kernelPeer(t)
	info := ipmitool(t, "mc", "info")
	for _, line := range []string{
		"Device ID                 : 32",
		"Firmware Revision         : 1.04",
		"IPMI Version              : 2.0",
		"Manufacturer ID           : 343",
		"Product ID                : 2832 (0x0b10)",
	} {
		if !strings.Contains(info, line) {
			t.Errorf("ipmitool mc info has no line %q:\n%s", line, info)
		}
	}
	if got := strings.TrimSpace(ipmitool(t, "raw", "0x30", "0x01", "0x0a", "0x0b", "0xff")); got != "0a 0b ff" {
		t.Errorf("ipmitool raw printed %q", got)
	}
}

func ipmitool(t *testing.T, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "ipmitool", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("ipmitool %q: %v\n%s%s", args, err, out, &stderr)
	}
	return string(out)
}

func TestKernelIsAResponder(t *testing.T) {
	d := kernelPeer(t)
	user := openIPMI(t, "/dev/ipmi0")
	user.register(t, echo, 0x77)

	user.echo(t)
	for i := range byte(20) {
		data := []byte{i, 0x5A}
		answer, err := d.Send(t.Context(), "bus", ipmb.Request{NetFn: echo, Command: 0x77, Data: data})
		if err != nil || answer.Code != ipmi.CodeOK || !bytes.Equal(answer.Data, data) {
			t.Errorf("request %d: %v % X, %v", i, answer.Code, answer.Data, err)
		}
	}
	if out := d.ipmbctl(t, "send", "bus", "0x82", "0x30", "0x77", "0xAB", "0xCD"); !strings.Contains(out, "ab cd") {
		t.Errorf("ipmbctl printed:\n%s", out)
	}
	answer, err := d.Send(t.Context(), "bus", ipmb.Request{NetFn: echo, Command: 0x78})
	if err != nil || answer.Code != 0xC1 {
		t.Errorf("a command that nobody has registered for: %v, %v", answer.Code, err)
	}
}
