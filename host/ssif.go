package host

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

const (
	// ssifMaxPayload is IPMI_SSIF_PAYLOAD_MAX.
	ssifMaxPayload = 254
	// ssifHeader is the length of the payload, an int of the machine.
	ssifHeader = 4
	// ssifMessage is the size of struct ipmi_ssif_msg, which its int pads.
	ssifMessage = 260
	// ssifMinPayload of a request: netFn and LUN, command.
	ssifMinPayload = 2
	// SSIFMaxData is the most data of a response, behind its netFn and LUN, command and completion
	// code.
	SSIFMaxData = ssifMaxPayload - 3

	// ssifDriverTimeout is how long the driver waits for a response: RESPONSE_TIMEOUT of
	// ssif_bmc.c.
	ssifDriverTimeout = 500 * time.Millisecond
	// ssifDeadline leaves the response time to reach the driver.
	ssifDeadline = ssifDriverTimeout - 100*time.Millisecond
)

// SSIFPort is the Port at the character device of the kernel's SSIF driver,
// drivers/char/ipmi/ssif_bmc.c. A message is a struct ipmi_ssif_msg of
// include/uapi/linux/ipmi_ssif_bmc.h: the length of the payload and the payload, which is netFn
// and LUN, command, the completion code of a response, and data.
//
// Quirks of the driver:
//   - A read returns as many bytes as the length says. A write may be as short.
//   - It takes each write for the response to the request that the host sent last, whether or not
//     that was read. Without a request, or after 500 ms, a write fails with EINVAL. A second
//     response fails with EAGAIN, and waiting would not help.
//   - After a response to a request that was not read, an empty request can be read.
//   - There is no attention.
type SSIFPort struct{ unnumbered }

// OpenSSIF opens a device such as /dev/ipmi-ssif-host. It returns the errors of OpenKCS.
func OpenSSIF(path string) (*SSIFPort, error) { return openPort(path, ssifMessage, newSSIFPort) }

func newSSIFPort(d *device) *SSIFPort { return &SSIFPort{unnumbered{device: d}} }

// Read implements Port. It returns the errors of KCSPort.Read.
func (p *SSIFPort) Read() (Request, error) { return p.receive(p.readRequest) }

func (p *SSIFPort) readRequest(fd int) (Request, error) {
	return p.unnumbered.readRequest(fd, parseSSIFRequest)
}

// parseSSIFRequest parses the length of the payload, netFn and LUN, command, data.
func parseSSIFRequest(tag uint8, b []byte) (Request, bool) {
	if len(b) < ssifHeader+ssifMinPayload {
		return Request{}, false
	}
	payload := b[ssifHeader:]
	length := binary.NativeEndian.Uint32(b)
	if length < ssifMinPayload || length > ssifMaxPayload || int(length) > len(payload) {
		return Request{}, false
	}
	return parseRequest(tag, payload[0], payload[1], payload[2:length])
}

// ssifRefusals are the errors of a write after the driver has given the response up.
var ssifRefusals = []error{unix.EINVAL, unix.EAGAIN}

// Write implements Port. A response that the host, or the driver, has given up is counted; this
// is not an error.
func (p *SSIFPort) Write(r Response) (done bool, err error) {
	if err := r.checkLength(SSIFMaxData); err != nil {
		return false, err
	}
	p.out = appendSSIFResponse(p.out[:0], r)
	return true, p.control("write", func(fd int) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		ready, err := p.poll(fd, unix.POLLIN, 0)
		if err != nil {
			return err
		}
		if ready&unix.POLLIN != 0 { // The host has sent another request.
			p.open = false
		}
		return p.respond(fd, r.Tag, ssifRefusals)
	})
}

// appendSSIFResponse appends a struct ipmi_ssif_msg, as long as it needs to be.
func appendSSIFResponse(b []byte, r Response) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(3+len(r.Data)))
	return append(append(b, r.netFnLUN(), byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port. It does nothing: the host polls.
func (p *SSIFPort) SetAttention(ipmi.Attention) error { return nil }

// Limits implements Port.
func (p *SSIFPort) Limits() Limits { return Limits{MaxData: SSIFMaxData, Deadline: ssifDeadline} }
