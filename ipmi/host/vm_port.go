package host

import (
	"bufio"
	"fmt"
	"net"
	"sync/atomic"
	"time"
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
	conn         net.Conn
	in           *bufio.Reader
	decoder      vmDecoder
	out          []byte
	interrupts   bool // enabled
	capabilities atomic.Uint32
}

// NewVMPort makes a port of a connection that QEMU has made.
func NewVMPort(conn net.Conn) *VMPort {
	return &VMPort{conn: conn, in: bufio.NewReader(conn)}
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
	if b[0] == vmCapabilities && len(b) > 1 {
		p.capabilities.Store(uint32(b[1]))
	}
}

// Write implements Port.
func (p *VMPort) Write(r Response) error {
	p.out = appendVMResponse(p.out[:0], r)
	return p.flush()
}

// SetAttention implements Port. The first one follows the greeting: our version.
func (p *VMPort) SetAttention(a Attention) error {
	b := p.out[:0]
	if cap(p.out) == 0 {
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
	if err := p.conn.SetWriteDeadline(time.Now().Add(vmWriteTime)); err != nil {
		return err
	}
	_, err := p.conn.Write(p.out)
	return err
}

// Limits implements Port.
func (p *VMPort) Limits() Limits { return Limits{MaxData: VMMaxData, Deadline: vmDeadline} }

// Close implements Port.
func (p *VMPort) Close() error { return p.conn.Close() }
