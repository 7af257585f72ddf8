package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// emulator is QEMU.
const emulator = "qemu-system-x86_64"

// guest is a virtual machine of test/guest/x86 with a shell, as its init has it.
type guest struct {
	process *process
	in      io.WriteCloser
	pipe    *os.File
	out     *bufio.Reader // of pipe
}

// guestKernel avoids steps that take an emulated processor seconds.
const guestKernel = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on"

// guestTimeout is how long a guest may say nothing.
const guestTimeout = time.Minute

// bmcPort is a system interface of a guest, and the TCP port where its BMC is.
type bmcPort struct {
	name    string // of the BMC
	service *process
	device  string // QEMU's
	address int    // of its registers
	irq     int
	port    int
}

func (b bmcPort) options(i int) []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=link%d,reconnect=1,host=127.0.0.1,port=%d", i, b.port),
		"-device", fmt.Sprintf("ipmi-bmc-extern,id=bmc%d,chardev=link%d", i, i),
		"-device", fmt.Sprintf("%s,bmc=bmc%d,ioport=%#x,irq=%d", b.device, i, b.address, b.irq),
	}
}

// startGuest starts a guest with system interfaces, without waiting for it.
func (s *stage) startGuest(kernel, initrd string, bmcs []bmcPort) (*guest, error) {
	args := []string{"-accel", "tcg", "-M", "q35", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", kernel, "-initrd", initrd, "-append", guestKernel, "-serial", "null", "-serial", "stdio"}
	for i, b := range bmcs {
		args = append(args, b.options(i)...)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	cmd := exec.Command(emulator, args...)
	cmd.Stdout = write
	s.atEnd(func() { read.Close() })
	g := &guest{pipe: read, out: bufio.NewReader(read)}
	if g.in, err = cmd.StdinPipe(); err == nil {
		g.process, err = s.start(cmd)
	}
	return g, err
}

// boot waits for the shell and loads the IPMI driver, for a number of interfaces.
func (g *guest) boot(ctx context.Context, interfaces int) error {
	if _, err := g.until(ctx, "ready"); err != nil {
		return err
	}
	_, err := g.run(ctx, fmt.Sprintf("modprobe ipmi_devintf && modprobe ipmi_si && "+
		"for try in $(seq 100); do [ -e /dev/ipmi%d ] && break; usleep 100000; done; [ -e /dev/ipmi%d ]", interfaces-1, interfaces-1))
	return err
}

// device is the guest's name of the device of an interface.
func (g *guest) device(ctx context.Context, b bmcPort) (string, error) {
	file, err := g.run(ctx, fmt.Sprintf("grep -l 'i/o,%#x,' /sys/class/ipmi/ipmi*/device/params", b.address))
	if err != nil {
		return "", err
	}
	return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file))), nil
}

// run runs a command, a single line that must succeed, and returns its output.
func (g *guest) run(ctx context.Context, command string) (string, error) {
	if _, err := fmt.Fprintln(g.in, command); err != nil {
		return "", err
	}
	if _, err := g.until(ctx, "=== "+command); err != nil {
		return "", err
	}
	output, err := g.until(ctx, endOfSection)
	if err != nil {
		return "", err
	}
	text, code, _ := strings.Cut(output, endOfSection)
	text = strings.TrimSpace(text)
	if status, err := strconv.Atoi(strings.TrimSpace(code)); err != nil || status != 0 {
		return "", fmt.Errorf("%s in a virtual machine: status %s: %s", command, strings.TrimSpace(code), text)
	}
	return text, nil
}

// endOfSection begins the line after the output of a command.
const endOfSection = "--- rc="

// until reads lines up to one with a beginning.
func (g *guest) until(ctx context.Context, beginning string) (string, error) {
	if err := g.pipe.SetReadDeadline(time.Now().Add(guestTimeout)); err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { _ = g.pipe.SetReadDeadline(time.Unix(1, 0)) })()
	var text strings.Builder
	for {
		line, err := g.out.ReadString('\n')
		text.WriteString(line)
		switch {
		case err == io.EOF:
			return "", g.process.end()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", fmt.Errorf("a virtual machine says nothing for %v after %q", guestTimeout, text.String())
		case err != nil:
			return "", err
		case strings.HasPrefix(line, beginning):
			return strings.ReplaceAll(text.String(), "\r", ""), nil
		}
	}
}
