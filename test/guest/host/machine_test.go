package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a virtual machine with a shell, as test/guest/x86/init has it.
type machine struct {
	shell io.Writer
	lines chan string // closed when QEMU has ended
	end   func()      // of QEMU
	ended chan struct{}
	err   error // of QEMU, once it has ended

	console string // a file
}

// kernelCommandLine avoids steps that take an emulated processor seconds, and makes a panic a
// reset: the end of QEMU, except for bootLasting.
const kernelCommandLine = "console=ttyS0 quiet loglevel=4 panic=-1 " +
	"mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on"

// readyLine is the first line of the shell.
const readyLine = "ready"

// boot starts a machine that has a system interface and connects to the daemon's
// socket. It ends with its test. The options are QEMU's.
func boot(t *testing.T, kind systemInterface, socket string, options ...string) *machine {
	t.Helper()
	console := filepath.Join(t.TempDir(), "console")
	qemu := exec.Command("qemu-system-x86_64", append([]string{"-accel", "tcg", "-M", "q35", "-m", "256",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", filepath.Join(fixture, "vmlinux"), "-initrd", initrd,
		"-append", kernelCommandLine,
		"-chardev", "socket,id=bmc,reconnect=1,path=" + socket,
		"-device", "ipmi-bmc-extern,id=bmc0,chardev=bmc", "-device", kind.device + ",bmc=bmc0",
		"-serial", "file:" + console, "-serial", "stdio"}, options...)...)
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder // by QEMU itself, until it has ended
	qemu.Stderr = &said
	shell, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{
		shell: shell, lines: make(chan string, 1024), end: func() { _ = qemu.Process.Kill() }, ended: make(chan struct{}),
		console: console,
	}
	go func() {
		defer close(m.ended)
		for in := bufio.NewScanner(answers); in.Scan(); {
			m.lines <- in.Text()
		}
		close(m.lines)
		m.err = qemu.Wait()
	}()
	t.Cleanup(func() {
		m.end()
		for range m.lines { // so that the end is reached
		}
		<-m.ended
		if t.Failed() {
			t.Logf("QEMU said:\n%s\nthe kernel said:\n%s", &said, m.kernel())
		}
	})
	return m
}

// kernel is the output of the kernel on its console, in all boots.
func (m *machine) kernel() string {
	text, _ := os.ReadFile(m.console)
	return string(text)
}

// isOff waits until the machine has switched itself off, or was switched off.
func (m *machine) isOff(t *testing.T) {
	t.Helper()
	off := time.After(timeLimit)
	for {
		select {
		case line, ok := <-m.lines:
			if !ok {
				if <-m.ended; m.err != nil {
					t.Errorf("QEMU has failed: %v", m.err)
				}
				return
			}
			if line == readyLine {
				t.Fatal("the machine has booted again instead of being off")
			}
		case <-off:
			t.Fatalf("the machine is not off after %v", timeLimit)
		}
	}
}

// section is the result of a command of the shell.
type section struct {
	output string
	status int
}

// runs runs a command, a single line, and returns its result.
func (m *machine) runs(t *testing.T, command string) section {
	t.Helper()
	m.isTold(t, command)
	m.until(t, command, "=== "+command)
	return m.section(t, command)
}

// isTold is runs of a command that may be the machine's last.
func (m *machine) isTold(t *testing.T, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(m.shell, command); err != nil {
		t.Fatalf("%s: the machine is gone: %v", command, err)
	}
}

// until passes over lines before one.
func (m *machine) until(t *testing.T, command, wanted string) {
	t.Helper()
	for m.line(t, command) != wanted {
	}
}

// section reads the rest of a section.
func (m *machine) section(t *testing.T, command string) section {
	t.Helper()
	var output strings.Builder
	for {
		line := m.line(t, command)
		if status, ends := strings.CutPrefix(line, "--- rc="); ends {
			n, err := strconv.Atoi(status)
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			return section{strings.TrimSpace(output.String()), n}
		}
		fmt.Fprintln(&output, line)
	}
}

func (m *machine) line(t *testing.T, command string) string {
	t.Helper()
	select {
	case line, ok := <-m.lines:
		if !ok {
			t.Fatalf("%s: the machine has ended", command)
		}
		return line
	case <-time.After(timeLimit):
		m.end() // so that no other command waits for it
		t.Fatalf("%s: nothing for %v", command, timeLimit)
		panic("unreachable")
	}
}

// prints runs a command that must succeed.
func (m *machine) prints(t *testing.T, command string) string {
	t.Helper()
	s := m.runs(t, command)
	if s.status != 0 {
		t.Fatalf("%s: status %d\n%s", command, s.status, s.output)
	}
	return s.output
}

// eventually runs a command until it succeeds.
func (m *machine) eventually(t *testing.T, command string) {
	t.Helper()
	eventually(t, command, func() bool { return m.runs(t, command).status == 0 })
}

// number returns the number that a command prints.
func (m *machine) number(t *testing.T, command string) int {
	t.Helper()
	n, err := strconv.Atoi(m.prints(t, command))
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return n
}
