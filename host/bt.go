package host

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

const (
	// btMaxMessage is the most that the length byte can tell. It does not count itself.
	btMaxMessage = 255
	// btMinRequest: length, netFn and LUN, sequence, command.
	btMinRequest = 4
	// BTMaxData is the most data of a response, behind its netFn and LUN, sequence, command and
	// completion code.
	BTMaxData = btMaxMessage - 4

	// btHostTimeout is how long Linux's host driver waits for a response: BT_NORMAL_TIMEOUT of
	// drivers/char/ipmi/ipmi_bt_sm.c.
	btHostTimeout = 5 * time.Second
	// btDeadline leaves the response time to reach the host.
	btDeadline = btHostTimeout - 500*time.Millisecond

	// btFetchTimeout is how long a response waits for the host to fetch the one before. A host
	// that runs takes milliseconds.
	btFetchTimeout = 2 * time.Second
	// btLook is how long one look takes at whether the host has fetched it: Close waits for it.
	btLook = 20 * time.Millisecond

	// btSetAttention is the number of BT_BMC_IOCTL_SMS_ATN (include/uapi/linux/bt-bmc.h).
	btSetAttention = 0
)

// BTPort is the Port at the character device of the kernel's BT driver,
// drivers/char/ipmi/bt-bmc.c. A message is its length without this byte, netFn and LUN, sequence,
// command, the completion code of a response, and data.
//
// Quirks of the driver:
//   - It ignores O_NONBLOCK. A read blocks until there is a request. A write blocks until the host
//     has fetched the response before, which a host that is switched off never does. So no call
//     is made before poll reports that it will not block.
//   - It does not check a message: the length byte must be right.
//   - A read of 0 bytes is a message of length 0, not the end of the device.
//   - SMS_ATN can only be set. The host clears it.
//   - EIO from either call means that the host has changed its mind meanwhile.
//   - Without an interrupt it looks for requests every 500 ms.
type BTPort struct {
	*device
	fetchTimeout time.Duration
}

// OpenBT opens a device such as /dev/ipmi-bt-host. It returns the errors of OpenKCS.
func OpenBT(path string) (*BTPort, error) { return openPort(path, 1+btMaxMessage, newBTPort) }

func newBTPort(d *device) *BTPort { return &BTPort{d, btFetchTimeout} }

// Read implements Port. The tag is the host's sequence number. Read returns the errors of
// KCSPort.Read.
func (p *BTPort) Read() (Request, error) { return p.receive(p.readRequest) }

func (p *BTPort) readRequest(fd int) (Request, error) {
	ready, err := p.poll(fd, unix.POLLIN, 0)
	switch {
	case err != nil:
		return Request{}, err
	case ready&unix.POLLIN == 0:
		return Request{}, endOr(ready, unix.EAGAIN)
	}
	n, err := p.read(fd, p.in)
	switch {
	case err == unix.EIO:
		return Request{}, unix.EAGAIN
	case err != nil:
		return Request{}, err
	case n == 0 && endOr(ready, nil) != nil:
		return Request{}, io.EOF
	}
	req, ok := parseBTRequest(p.in[:n])
	if !ok {
		return p.malformed()
	}
	return req, nil
}

// endOr returns io.EOF if poll reports the end of the device, else err.
func endOr(ready int16, err error) error {
	if ready&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		return io.EOF
	}
	return err
}

// parseBTRequest parses length, netFn and LUN, sequence, command, data.
func parseBTRequest(b []byte) (Request, bool) {
	if len(b) < btMinRequest || int(b[0]) != len(b)-1 {
		return Request{}, false
	}
	return parseRequest(b[2], b[1], b[3], b[4:])
}

// Write implements Port.
func (p *BTPort) Write(r Response) (done bool, err error) {
	if err := r.checkLength(BTMaxData); err != nil {
		return false, err
	}
	p.out = appendBTResponse(p.out[:0], r)
	return p.offer(0)
}

// Finish implements Port. A response that the host does not fetch is counted; this is not an
// error.
func (p *BTPort) Finish() error {
	for end := time.Now().Add(p.fetchTimeout); ; {
		sent, err := p.offer(btLook)
		switch {
		case err != nil || sent:
			return err
		case time.Now().After(end):
			p.counts.Count(responsesUnfetched)
			return nil
		}
	}
}

// offer writes the response if the host has fetched the one before, or does so within a time.
func (p *BTPort) offer(wait time.Duration) (sent bool, err error) {
	err = p.control("write", func(fd int) error {
		ready, err := p.poll(fd, unix.POLLOUT, wait)
		switch {
		case err != nil:
			return err
		case ready&unix.POLLOUT == 0:
			return endOr(ready, nil)
		}
		err = chardev.WriteMessage(p.write, fd, p.out)
		if err == unix.EIO || err == unix.EINTR {
			return nil
		}
		sent = err == nil
		return err
	})
	return sent, err
}

// appendBTResponse appends length, netFn and LUN, sequence, command, completion code, data.
func appendBTResponse(b []byte, r Response) []byte {
	return append(append(b, byte(4+len(r.Data)), r.netFnLUN(), r.Tag, byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port: it sets the bit SMS_ATN of the control register.
func (p *BTPort) SetAttention(a ipmi.Attention) error {
	if !a.Raised {
		return nil
	}
	return p.request("set SMS_ATN on", btSetAttention)
}

// Limits implements Port.
func (p *BTPort) Limits() Limits { return Limits{MaxData: BTMaxData, Deadline: btDeadline} }
