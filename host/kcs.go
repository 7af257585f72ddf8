package host

import (
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

const (
	// kcsMaxMessage is KCS_MSG_BUFSIZ of kcs_bmc_cdev_ipmi.c, in both directions.
	kcsMaxMessage = 1000
	// kcsMinRequest: netFn and LUN, command.
	kcsMinRequest = 2
	// KCSMaxData is the most data of a response, behind its netFn and LUN, command and completion
	// code.
	KCSMaxData = kcsMaxMessage - 3

	// kcsHostTimeout is how long Linux's host driver waits for a response: OBF_RETRY_TIMEOUT
	// of drivers/char/ipmi/ipmi_kcs_sm.c.
	kcsHostTimeout = 5 * time.Second
	// kcsDeadline leaves the response time to reach the host.
	kcsDeadline = kcsHostTimeout - 500*time.Millisecond
)

// Ioctls of the driver (include/uapi/linux/ipmi_bmc.h).
const (
	kcsSetAttention   = 0
	kcsClearAttention = 1
	kcsForceAbort     = 2
)

// KCSPort is the Port at a character device of the kernel's KCS driver,
// drivers/char/ipmi/kcs_bmc_cdev_ipmi.c. A message is netFn and LUN, command, the completion code
// of a response, and data. The result of the system call is its length.
//
// Quirks of the driver:
//   - It takes one write for each read. If the host starts a new request, the driver reports no
//     error, and sends the next write to the host as the response to the new request.
//   - After a read without a response the host waits until it gives up, unless it is shown
//     an error.
//   - It throws away a request that does not fit the buffer of a read, returns EOVERFLOW, and
//     shows the host an error.
type KCSPort struct{ unnumbered }

// OpenKCS opens a device such as /dev/ipmi-kcs3. The errors are *fs.PathErrors that unwrap to the
// system's or to chardev.ErrNotDevice.
func OpenKCS(path string) (*KCSPort, error) { return openPort(path, kcsMaxMessage, newKCSPort) }

func newKCSPort(d *device) *KCSPort { return &KCSPort{unnumbered{device: d}} }

// Read implements Port. It returns io.EOF when the device has gone and os.ErrClosed after Close.
func (p *KCSPort) Read() (Request, error) { return p.receive(p.readRequest) }

func (p *KCSPort) readRequest(fd int) (Request, error) {
	req, err := p.unnumbered.readRequest(fd, parseKCSRequest)
	switch err {
	case unix.EOVERFLOW:
		return p.malformed()
	case errDropped:
		if err := p.ioctl(fd, chardev.Request(bmcGroup, kcsForceAbort)); err != nil {
			return req, err
		}
	}
	return req, err
}

// parseKCSRequest parses netFn and LUN, command, data.
func parseKCSRequest(tag uint8, b []byte) (Request, bool) {
	if len(b) < kcsMinRequest {
		return Request{}, false
	}
	return parseRequest(tag, b[0], b[1], b[2:])
}

// kcsRefusals are the errors of a write after the host has started another request.
var kcsRefusals = []error{unix.EINVAL}

// Write implements Port. A response to a request that the host has given up is counted; this is
// not an error.
func (p *KCSPort) Write(r Response) (done bool, err error) {
	if err := r.checkLength(KCSMaxData); err != nil {
		return false, err
	}
	p.out = appendKCSResponse(p.out[:0], r)
	return true, p.control("write", func(fd int) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.respond(fd, r.Tag, kcsRefusals)
	})
}

// appendKCSResponse appends netFn and LUN, command, completion code, data.
func appendKCSResponse(b []byte, r Response) []byte {
	return append(append(b, r.netFnLUN(), byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port: it sets the bit SMS_ATN of the status register.
func (p *KCSPort) SetAttention(a ipmi.Attention) error {
	if a.Raised {
		return p.request("set SMS_ATN on", kcsSetAttention)
	}
	return p.request("clear SMS_ATN on", kcsClearAttention)
}

// ForceAbort shows the host an error, after which it starts again. The request that is being
// served gets no response.
func (p *KCSPort) ForceAbort() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = false
	return p.request("force an abort on", kcsForceAbort)
}

// Limits implements Port.
func (p *KCSPort) Limits() Limits { return Limits{MaxData: KCSMaxData, Deadline: kcsDeadline} }
