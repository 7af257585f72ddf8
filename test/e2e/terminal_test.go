package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal stands for a device of Linux's ipmb-dev driver: a character device on which each read
// is one packet, as on a terminal with its lines. The daemon takes it for I2C, where copies of
// frames are possible, unlike on a socket.
type terminal struct {
	path   string // of the device
	master *os.File
	slave  *os.File // keeps the terminal when the daemon closes it
}

// Characters of the terminal: the next one is no character of these, and the end of a
// line, which is not part of it.
const (
	terminalQuote = 0x16
	terminalEnd   = 0x04
)

// newTerminal makes a device that hands each frame that the daemon writes to take. It
// ends with its test.
func newTerminal(t testing.TB, take func(frame []byte)) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number := 0
	control := func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}
	d := &terminal{master: master}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(control); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	d.path = fmt.Sprintf("/dev/pts/%d", number)
	if d.slave, err = os.OpenFile(d.path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.slave.Close() })
	lines := unix.Termios{Cflag: unix.CS8 | unix.CREAD, Lflag: unix.ICANON | unix.IEXTEN}
	lines.Cc[unix.VLNEXT], lines.Cc[unix.VEOF] = terminalQuote, terminalEnd
	if err := unix.IoctlSetTermios(int(d.slave.Fd()), unix.TCSETS, &lines); err != nil {
		t.Fatal(err)
	}
	go d.read(take)
	return d
}

// channel is a channel of a configuration at the device, with more keys or others.
func (d *terminal) channel(name string, keys object) object {
	c := object{"type": "me", "name": name, "slave-path": d.path, "transport": "ipmb-dev", "remote-addr": 0x2C}
	for key, value := range keys {
		c[key] = value
	}
	return c
}

// read takes the driver's packets, a length and a frame each, until the end.
func (d *terminal) read(take func(frame []byte)) {
	for in := bufio.NewReader(d.master); ; {
		length, err := in.ReadByte()
		if err != nil {
			return
		}
		frame := make([]byte, length)
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		take(frame)
	}
}

// write has the daemon read a frame.
func (d *terminal) write(frame []byte) {
	line := []byte{terminalQuote, byte(len(frame))}
	for _, b := range frame {
		line = append(line, terminalQuote, b)
	}
	_, _ = d.master.Write(append(line, terminalEnd)) // An error is the end.
}

// TestTerminalIsADevice: frames with every byte pass both ways, one at a time.
func TestTerminalIsADevice(t *testing.T) {
	t.Parallel()
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	for _, data := range [][]byte{{}, bytes[:128], bytes[128:], {terminalEnd, '\n', 0, terminalQuote}} {
		came := make(chan []byte, 1)
		d := newTerminal(t, func(frame []byte) { came <- frame })
		frame := packet{to: 0x2C, netFn: 0x30, from: 0x20, cmd: 1, data: data}.bytes()
		d.write(frame)
		d.write(frame[:7])
		got := make([]byte, 512)
		for _, want := range [][]byte{frame, frame[:7]} {
			n, err := d.slave.Read(got)
			if err != nil || string(got[:n]) != string(append([]byte{byte(len(want))}, want...)) {
				t.Fatalf("read % X, %v, want % X", got[:n], err, want)
			}
		}
		if _, err := d.slave.Write(append([]byte{byte(len(frame))}, frame...)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, "the frame", came); string(got) != string(frame) {
			t.Errorf("wrote % X, read % X", frame, got)
		}
	}
}
