package host

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// VMMaxData is the longest answer that QEMU carries to the guest on every
	// interface: one of 256 bytes is corrupted on BT (QEMU 7.2, measured).
	VMMaxData = 251
	// vmDeadline is less than the 4 s after which QEMU answers C3h itself.
	vmDeadline = 3500 * time.Millisecond
	// vmWriteTime is how long QEMU may take to read.
	vmWriteTime = 2 * time.Second
)

// VMAction is something that is done to a virtual machine.
type VMAction byte

// What can be done to a virtual machine.
const (
	VMPowerOff VMAction = vmPowerOff
	VMReset    VMAction = vmReset
	VMNMI      VMAction = vmSendNMI
	VMShutdown VMAction = vmShutdown // in good order, if the guest agrees
)

// vmNeeds is the capability that each action needs.
var vmNeeds = map[VMAction]uint32{VMPowerOff: 0x01, VMReset: 0x02, VMNMI: 0x08, VMShutdown: 0x20}

// VMPort is the Port at one connection of QEMU's.
type VMPort struct {
	// file is in blocking mode: a thread that waits in read answers sooner than the
	// runtime's poller wakes a goroutine, and has half as many system calls to do.
	file         *os.File
	raw          syscall.RawConn // of file
	sending      func(fd uintptr)
	sent         int   // by the last call of sending
	failed       error // of that call
	in           *bufio.Reader
	decoder      vmDecoder
	out          []byte
	greeted      bool // our version was sent
	interrupts   bool // enabled
	capabilities atomic.Uint32
	reset        func() // told that the machine was reset; nil for nobody
}

// NewVMPort makes a port of a connection that QEMU has made, a socket of Unix or
// TCP, and takes it over.
func NewVMPort(conn net.Conn) (*VMPort, error) {
	defer conn.Close()
	file, err := blocking(conn)
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p := &VMPort{file: file, raw: raw, in: bufio.NewReader(file)}
	p.sending = p.send // made once
	return p, nil
}

var errNoSocket = errors.New("not a socket")

// blocking makes a file of a connection. Its own descriptor is not registered with
// the runtime's poller.
func blocking(conn net.Conn) (*os.File, error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errNoSocket
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(original uintptr) {
		fd, failed = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(vmWriteTime.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		unix.SetNonblock(fd, false))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "vm"), nil
}

// Read implements Port. Commands of the VM are taken on the way.
func (p *VMPort) Read() (Request, error) {
	for {
		c, err := p.in.ReadByte()
		if err != nil {
			return Request{}, err
		}
		u, ok := p.decoder.next(c)
		if !ok {
			continue
		}
		if u.command {
			p.take(u.bytes)
			continue
		}
		if req, ok := parseVMRequest(u.bytes); ok {
			return req, nil
		}
	}
}

// take takes a command of the VM.
func (p *VMPort) take(b []byte) {
	switch {
	case b[0] == vmCapabilities && len(b) > 1:
		p.capabilities.Store(uint32(b[1]))
	case b[0] == vmReset && p.reset != nil:
		p.reset()
	}
}

// Write implements Port.
func (p *VMPort) Write(r Response) error {
	p.out = appendVMResponse(p.out[:0], r)
	return p.flush()
}

// WriteDirect implements DirectWriter.
func (p *VMPort) WriteDirect(r Response) (done bool, err error) {
	p.out = appendVMResponse(p.out[:0], r)
	if err := p.raw.Control(p.sending); err != nil {
		return false, err
	}
	if p.sent == len(p.out) {
		return true, p.failed // Its memory is the next one's.
	}
	p.out = p.out[p.sent:]
	return false, p.failed
}

// send sends as much as the socket has room for.
func (p *VMPort) send(fd uintptr) {
	p.sent, p.failed = unix.SendmsgN(int(fd), p.out, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if p.failed == unix.EAGAIN || p.failed == unix.EINTR {
		p.sent, p.failed = 0, nil
	}
}

// Finish implements DirectWriter.
func (p *VMPort) Finish() error { return p.flush() }

// SetAttention implements Port. The first one follows the greeting: our version.
func (p *VMPort) SetAttention(a Attention) error {
	b := p.out[:0]
	if !p.greeted {
		p.greeted = true
		b = appendVMCommand(b, vmVersion, vmVersionNumber)
	}
	if a.Interrupts != p.interrupts {
		p.interrupts = a.Interrupts
		enable := byte(vmDisableInterrupts)
		if a.Interrupts {
			enable = vmEnableInterrupts
		}
		b = appendVMCommand(b, enable)
	}
	switch {
	case !a.Raised:
		b = appendVMCommand(b, vmNoAttention)
	case a.Interrupt:
		b = appendVMCommand(b, vmAttentionInterrupt)
	default:
		b = appendVMCommand(b, vmAttention)
	}
	p.out = b
	return p.flush()
}

// Act does something to the virtual machine. ErrUnsupported: QEMU has not said
// that it can.
func (p *VMPort) Act(a VMAction) error {
	if p.capabilities.Load()&vmNeeds[a] == 0 {
		return fmt.Errorf("%w: the virtual machine cannot do that", ErrUnsupported)
	}
	p.out = appendVMCommand(p.out[:0], byte(a))
	return p.flush()
}

func (p *VMPort) flush() error {
	_, err := p.file.Write(p.out)
	return err
}

// Limits implements Port.
func (p *VMPort) Limits() Limits {
	return Limits{MaxData: VMMaxData, Deadline: vmDeadline}
}

// Close implements Port. What waits in Read or Write returns.
func (p *VMPort) Close() error {
	err := p.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	return errors.Join(err, p.file.Close())
}
