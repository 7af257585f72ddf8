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

	"ipmbd/internal/socket"
	"ipmbd/ipmi"
)

const (
	// VMMaxData is the longest response that QEMU carries to the guest on every interface: one of
	// 256 bytes is corrupted on BT (QEMU 7.2, measured).
	VMMaxData = 251

	// vmHostTimeout is how long QEMU waits for a response before it sends C3h to the guest itself
	// (hw/ipmi/ipmi_bmc_extern.c).
	vmHostTimeout = 4 * time.Second
	// vmDeadline leaves the response time to reach QEMU.
	vmDeadline = vmHostTimeout - 500*time.Millisecond
	// vmWriteTimeout is how long a write waits for QEMU to read. Then the connection is closed.
	vmWriteTimeout = 2 * time.Second
)

// VMAction is an action on a virtual machine.
type VMAction byte

// Actions on a virtual machine.
const (
	VMPowerOff VMAction = vmPowerOff
	VMReset    VMAction = vmReset
	VMNMI      VMAction = vmSendNMI
	VMShutdown VMAction = vmShutdown // in good order, if the guest agrees
)

// vmNeeds is the capability that each action needs.
var vmNeeds = map[VMAction]uint32{VMPowerOff: 0x01, VMReset: 0x02, VMNMI: 0x08, VMShutdown: 0x20}

// VMPort is the Port at one connection of QEMU.
type VMPort struct {
	// file is in blocking mode: a thread that waits in read(2) responds sooner than the runtime's
	// poller wakes a goroutine, and makes half as many system calls.
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
	onReset      func() // called when the machine was reset; may be nil
}

// NewVMPort makes a port of a connection from QEMU, over a Unix or TCP socket, and takes it over.
func NewVMPort(conn net.Conn) (*VMPort, error) {
	fd, err := socket.Detach(conn)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "vm") // Go's poller does not get a descriptor that blocks.
	timeout := unix.NsecToTimeval(vmWriteTimeout.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	raw, rawErr := file.SyscallConn()
	if err = errors.Join(err, rawErr); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p := &VMPort{file: file, raw: raw, in: bufio.NewReader(file)}
	p.sending = p.send // made once
	return p, nil
}

// Read implements Port. It handles the commands of the VM that come before the request.
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
			p.handleCommand(u.bytes)
		} else if req, ok := parseVMRequest(u.bytes); ok {
			return req, nil
		}
	}
}

// handleCommand handles a command of the VM.
func (p *VMPort) handleCommand(b []byte) {
	switch {
	case b[0] == vmCapabilities && len(b) > 1:
		p.capabilities.Store(uint32(b[1]))
	case b[0] == vmReset && p.onReset != nil:
		p.onReset()
	}
}

// Write implements Port.
func (p *VMPort) Write(r Response) (done bool, err error) {
	p.out = appendVMResponse(p.out[:0], r)
	if err := p.raw.Control(p.sending); err != nil {
		return false, err
	}
	if p.sent == len(p.out) {
		return true, p.failed // The next response uses the memory of this one.
	}
	p.out = p.out[p.sent:]
	return false, p.failed
}

// send sends as much of p.out as the socket has room for.
func (p *VMPort) send(fd uintptr) {
	p.sent, p.failed = unix.SendmsgN(int(fd), p.out, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if p.failed == unix.EAGAIN || p.failed == unix.EINTR {
		p.sent, p.failed = 0, nil
	}
}

// Finish implements Port.
func (p *VMPort) Finish() error {
	_, err := p.file.Write(p.out)
	return err
}

// SetAttention implements Port. The first one follows the greeting: our version.
func (p *VMPort) SetAttention(a ipmi.Attention) error {
	p.out = p.out[:0]
	if !p.greeted {
		p.greeted = true
		p.out = appendVMCommand(p.out, vmVersion, vmVersionNumber)
	}
	if a.Interrupts != p.interrupts {
		p.interrupts = a.Interrupts
		enable := byte(vmDisableInterrupts)
		if a.Interrupts {
			enable = vmEnableInterrupts
		}
		p.out = appendVMCommand(p.out, enable)
	}
	raised := byte(vmNoAttention)
	switch {
	case a.Raised && a.Interrupt:
		raised = vmAttentionInterrupt
	case a.Raised:
		raised = vmAttention
	}
	p.out = appendVMCommand(p.out, raised)
	return p.Finish()
}

// Act does something to the virtual machine. It returns ErrUnsupported if QEMU has not said that
// it can do this.
func (p *VMPort) Act(a VMAction) error {
	if p.capabilities.Load()&vmNeeds[a] == 0 {
		return fmt.Errorf("%w: the virtual machine cannot do that", ErrUnsupported)
	}
	p.out = appendVMCommand(p.out[:0], byte(a))
	return p.Finish()
}

// Limits implements Port.
func (p *VMPort) Limits() Limits { return Limits{MaxData: VMMaxData, Deadline: vmDeadline} }

// Close implements Port.
func (p *VMPort) Close() error {
	err := p.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	return errors.Join(err, p.file.Close())
}
