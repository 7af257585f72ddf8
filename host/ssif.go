package host

import (
	"encoding/binary"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ssifMaxPayload is IPMI_SSIF_PAYLOAD_MAX.
	ssifMaxPayload = 254
	// ssifHeader is the length, an int of the machine.
	ssifHeader = 4
	// ssifMessage is the size of struct ipmi_ssif_msg, which its int pads.
	ssifMessage = 260
	// ssifMinPayload of a request: netFn and LUN, command.
	ssifMinPayload = 2
	// SSIFMaxData is what the response's netFn and LUN, command and completion
	// code leave.
	SSIFMaxData = ssifMaxPayload - 3
	// ssifDeadline is less than the 500 ms after which the driver gives an answer
	// up (RESPONSE_TIMEOUT).
	ssifDeadline = 400 * time.Millisecond
)

// SSIFPort is the Port at the character device of the kernel's SSIF driver,
// drivers/char/ipmi/ssif_bmc.c. A message is a struct ipmi_ssif_msg of
// include/uapi/linux/ipmi_ssif_bmc.h: the length of the payload, and that: netFn
// and LUN, command, of a response the completion code, and data.
//
// Quirks of the driver:
//   - A read returns what the length says, a write may be as short.
//   - It takes an answer for that to the request the host sent last, read or not.
//     With none, or after 500 ms, a write is EINVAL; a second one is EAGAIN, and
//     no wait would help.
//   - An answer to a request that was not read leaves an empty one to be read.
//   - There is no attention.
type SSIFPort struct {
	*device
	turn turn
}

// OpenSSIF opens a device such as /dev/ipmi-ssif-host. The errors are those of
// OpenKCS.
func OpenSSIF(path string) (*SSIFPort, error) {
	d, err := openDevice(path, ssifMessage)
	if err != nil {
		return nil, err
	}
	return &SSIFPort{device: d}, nil
}

// Read implements Port. Errors are those of KCSPort.Read.
func (p *SSIFPort) Read() (Request, error) { return p.receive(p.take) }

func (p *SSIFPort) take(fd int) (Request, error) {
	p.turn.mu.Lock()
	defer p.turn.mu.Unlock()
	n, err := p.read(fd, p.in)
	switch {
	case err != nil:
		return Request{}, err
	case n == 0:
		return Request{}, io.EOF
	}
	tag := p.turn.begin()
	req, ok := parseSSIFRequest(tag, p.in[:n])
	if !ok {
		p.counts.malformed.Add(1)
		p.turn.drop()
		return Request{}, errDropped
	}
	return req, nil
}

// parseSSIFRequest reads the length of the payload, netFn and LUN, command,
// data.
func parseSSIFRequest(tag uint8, b []byte) (Request, bool) {
	if len(b) < ssifHeader+ssifMinPayload {
		return Request{}, false
	}
	payload := b[ssifHeader:]
	length := binary.NativeEndian.Uint32(b)
	if length < ssifMinPayload || length > ssifMaxPayload || int(length) > len(payload) {
		return Request{}, false
	}
	return requestOf(tag, payload[0], payload[1], payload[2:length])
}

// Write implements Port. An answer that the host, or the driver, has given up
// is counted, and no error.
func (p *SSIFPort) Write(r Response) error {
	if err := r.checkLength(SSIFMaxData); err != nil {
		return err
	}
	p.out = appendSSIFResponse(p.out[:0], r)
	return p.control("write", func(fd int) error {
		p.turn.mu.Lock()
		defer p.turn.mu.Unlock()
		return p.answer(fd, r.Tag)
	})
}

// WriteDirect implements DirectWriter: the driver takes an answer at once, or never.
func (p *SSIFPort) WriteDirect(r Response) (done bool, err error) { return true, p.Write(r) }

// Finish implements DirectWriter.
func (p *SSIFPort) Finish() error { return nil }

// answer writes p.out if it answers the request that the host sent last.
func (p *SSIFPort) answer(fd int, tag uint8) error {
	ready, err := p.poll(fd, unix.POLLIN, 0)
	if err != nil {
		return err
	}
	if !p.turn.end(tag) || ready&unix.POLLIN != 0 {
		p.counts.superseded.Add(1)
		return nil
	}
	err = p.writeAll(fd)
	if err == unix.EINVAL || err == unix.EAGAIN {
		p.counts.refused.Add(1)
		return nil
	}
	return err
}

// appendSSIFResponse adds a struct ipmi_ssif_msg to b, as long as it needs to
// be.
func appendSSIFResponse(b []byte, r Response) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(3+len(r.Data)))
	return append(append(b, r.netFnLUN(), byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port. The host asks by itself.
func (p *SSIFPort) SetAttention(Attention) error { return nil }

// Limits implements Port.
func (p *SSIFPort) Limits() Limits { return Limits{MaxData: SSIFMaxData, Deadline: ssifDeadline} }
