package host

// Special bytes of the VM protocol. Such a byte inside a unit is sent as vmEscape and the byte
// with bit 4 set.
const (
	vmEndOfMessage = 0xA0
	vmEndOfCommand = 0xA1
	vmEscape       = 0xAA
	vmEscapeBit    = 0x10
)

// Commands of the VM protocol.
const (
	vmNoAttention        = 0x00
	vmAttention          = 0x01
	vmAttentionInterrupt = 0x02
	vmPowerOff           = 0x03
	vmReset              = 0x04 // from the VM: it was reset
	vmEnableInterrupts   = 0x05
	vmDisableInterrupts  = 0x06
	vmSendNMI            = 0x07
	vmCapabilities       = 0x08 // from the VM
	vmShutdown           = 0x09
	vmVersion            = 0xFF

	vmVersionNumber = 1
)

const (
	// vmMaxUnit is the longest unit that is accepted, without escapes: QEMU's MAX_IPMI_MSG_SIZE
	// is 300.
	vmMaxUnit = 512
	// vmMinMessage: sequence, netFn and LUN, command, checksum.
	vmMinMessage = 4
)

// vmUnit is a message or a command from the VM.
type vmUnit struct {
	command bool
	bytes   []byte // without escapes; a view
}

// vmDecoder decodes units from a stream of bytes.
type vmDecoder struct {
	unit    []byte
	escaped bool
	broken  bool // until the end of the unit: too long, or an escape of nothing
}

// next decodes one byte; ok says that a unit has ended with it. The unit is valid until the next
// byte.
func (d *vmDecoder) next(c byte) (u vmUnit, ok bool) {
	switch {
	case c == vmEndOfMessage || c == vmEndOfCommand:
		u = vmUnit{command: c == vmEndOfCommand, bytes: d.unit}
		ok = !d.broken && !d.escaped && len(d.unit) > 0
		d.unit, d.escaped, d.broken = d.unit[:0], false, false
		return u, ok
	case c == vmEscape:
		d.broken = d.broken || d.escaped
		d.escaped = true
		return vmUnit{}, false
	case d.escaped:
		d.escaped = false
		c &^= vmEscapeBit
	}
	if len(d.unit) >= vmMaxUnit {
		d.broken = true
		return vmUnit{}, false
	}
	d.unit = append(d.unit, c)
	return vmUnit{}, false
}

// parseVMRequest parses a message from the VM: sequence, netFn and LUN, command, data, checksum.
func parseVMRequest(b []byte) (Request, bool) {
	if len(b) < vmMinMessage || vmSum(b) != 0 {
		return Request{}, false
	}
	return parseRequest(b[0], b[1], b[2], b[3:len(b)-1])
}

// vmSum is the arithmetic of the checksum: the bytes of a message add up to 0.
func vmSum(b []byte) uint8 {
	var sum uint8
	for _, c := range b {
		sum += c
	}
	return sum
}

// appendVMResponse appends a response.
func appendVMResponse(b []byte, r Response) []byte {
	head := [...]byte{r.Tag, r.netFnLUN(), byte(r.Command), byte(r.Code)}
	sum := vmSum(head[:]) + vmSum(r.Data)
	b = appendEscaped(b, head[:]...)
	b = appendEscaped(b, r.Data...)
	b = appendEscaped(b, -sum)
	return append(b, vmEndOfMessage)
}

// appendVMCommand appends a command.
func appendVMCommand(b []byte, command ...byte) []byte {
	return append(appendEscaped(b, command...), vmEndOfCommand)
}

func appendEscaped(b []byte, bytes ...byte) []byte {
	for _, c := range bytes {
		if c == vmEndOfMessage || c == vmEndOfCommand || c == vmEscape {
			b = append(b, vmEscape, c|vmEscapeBit)
			continue
		}
		b = append(b, c)
	}
	return b
}
