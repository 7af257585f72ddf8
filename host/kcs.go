package host

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

const (
	// kcsMaxMessage is KCS_MSG_BUFSIZ of kcs_bmc_cdev_ipmi.c, in both directions.
	kcsMaxMessage = 1000
	// kcsMinRequest: netFn and LUN, command.
	kcsMinRequest = 2
	// KCSMaxData is what the response's netFn and LUN, command and completion
	// code leave.
	KCSMaxData = kcsMaxMessage - 3
	// kcsDeadline is less than the 5 s after which Linux's host driver gives up
	// (OBF_RETRY_TIMEOUT of drivers/char/ipmi/ipmi_kcs_sm.c).
	kcsDeadline = 4500 * time.Millisecond
)

// Requests of the driver (include/uapi/linux/ipmi_bmc.h).
const (
	kcsSetAttention   = 0
	kcsClearAttention = 1
	kcsForceAbort     = 2
)

// KCSPort is the Port at a character device of the kernel's KCS driver,
// drivers/char/ipmi/kcs_bmc_cdev_ipmi.c. A message is netFn and LUN, command,
// of a response the completion code, and data; its length is that of the system
// call.
//
// Quirks of the driver:
//   - It takes one write for each read. A host that starts anew is no error: the
//     answer to its new request is what is written next, whatever that answers.
//   - After a read of something that is not answered the host waits until it
//     gives up, unless it is shown an error.
//   - A request that does not fit the room of a read is thrown away, with
//     EOVERFLOW, and the host is shown an error.
type KCSPort struct {
	*device
	turn turn
}

// OpenKCS opens a device such as /dev/ipmi-kcs3. The errors are
// *fs.PathErrors that unwrap to the system's or to chardev.ErrNotDevice.
func OpenKCS(path string) (*KCSPort, error) {
	d, err := openDevice(path, kcsMaxMessage)
	if err != nil {
		return nil, err
	}
	return &KCSPort{device: d}, nil
}

// Read implements Port. It returns io.EOF when the device has gone and
// os.ErrClosed after Close.
func (p *KCSPort) Read() (Request, error) { return p.receive(p.take) }

func (p *KCSPort) take(fd int) (Request, error) {
	p.turn.mu.Lock()
	defer p.turn.mu.Unlock()
	n, err := p.read(fd, p.in)
	switch {
	case err == unix.EOVERFLOW:
		p.counts.malformed.Add(1)
		return Request{}, errDropped
	case err != nil:
		return Request{}, err
	case n == 0:
		return Request{}, io.EOF
	}
	tag := p.turn.begin()
	req, ok := parseKCSRequest(tag, p.in[:n])
	if !ok {
		p.counts.malformed.Add(1)
		p.turn.drop()
		if err := p.ioctl(fd, chardev.Request(bmcGroup, kcsForceAbort)); err != nil {
			return Request{}, err
		}
		return Request{}, errDropped
	}
	return req, nil
}

// parseKCSRequest reads netFn and LUN, command, data.
func parseKCSRequest(tag uint8, b []byte) (Request, bool) {
	if len(b) < kcsMinRequest {
		return Request{}, false
	}
	return requestOf(tag, b[0], b[1], b[2:])
}

// Write implements Port. An answer to a request that the host has given up is
// counted, and no error.
func (p *KCSPort) Write(r Response) error {
	if err := r.checkLength(KCSMaxData); err != nil {
		return err
	}
	p.out = appendKCSResponse(p.out[:0], r)
	return p.control("write", func(fd int) error {
		p.turn.mu.Lock()
		defer p.turn.mu.Unlock()
		if !p.turn.end(r.Tag) {
			p.counts.superseded.Add(1)
			return nil
		}
		err := p.writeAll(fd)
		if err == unix.EINVAL { // The host starts anew.
			p.counts.refused.Add(1)
			return nil
		}
		return err
	})
}

// WriteDirect implements DirectWriter: the driver takes an answer at once, or never.
func (p *KCSPort) WriteDirect(r Response) (done bool, err error) { return true, p.Write(r) }

// Finish implements DirectWriter.
func (p *KCSPort) Finish() error { return nil }

// appendKCSResponse adds netFn and LUN, command, completion code, data to b.
func appendKCSResponse(b []byte, r Response) []byte {
	return append(append(b, r.netFnLUN(), byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port: the bit SMS_ATN of the status register.
func (p *KCSPort) SetAttention(a Attention) error {
	if a.Raised {
		return p.request("set SMS_ATN on", kcsSetAttention)
	}
	return p.request("clear SMS_ATN on", kcsClearAttention)
}

// ForceAbort shows the host an error, after which it starts anew. The request
// that is being served gets no answer.
func (p *KCSPort) ForceAbort() error {
	p.turn.mu.Lock()
	defer p.turn.mu.Unlock()
	p.turn.drop()
	return p.request("force an abort on", kcsForceAbort)
}

// Limits implements Port.
func (p *KCSPort) Limits() Limits { return Limits{MaxData: KCSMaxData, Deadline: kcsDeadline} }
