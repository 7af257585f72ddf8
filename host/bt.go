package host

import (
	"io"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// btMaxMessage is what the length byte can tell, which it does not count.
	btMaxMessage = 255
	// btMinRequest: length, netFn and LUN, sequence, command.
	btMinRequest = 4
	// BTMaxData is what the response's netFn and LUN, sequence, command and
	// completion code leave.
	BTMaxData = btMaxMessage - 4
	// btDeadline is less than the 5 s after which Linux's host driver gives up
	// (BT_NORMAL_TIMEOUT of drivers/char/ipmi/ipmi_bt_sm.c).
	btDeadline = 4500 * time.Millisecond

	// btPatience is how long an answer waits for the host to fetch the one
	// before. A host that runs takes milliseconds.
	btPatience = 2 * time.Second
	// btLook is how long one look takes at whether it has: Close waits for it.
	btLook = 20 * time.Millisecond

	// btSetAttention is the number of BT_BMC_IOCTL_SMS_ATN
	// (include/uapi/linux/bt-bmc.h).
	btSetAttention = 0
)

// BTPort is the Port at the character device of the kernel's BT driver,
// drivers/char/ipmi/bt-bmc.c. A message is its length without this byte, netFn
// and LUN, sequence, command, of a response the completion code, and data.
//
// Quirks of the driver:
//   - It heeds no O_NONBLOCK. A read blocks until there is a request and a write
//     until the host has fetched what was written before, which a host that is
//     switched off never does. So nothing is called that poll does not promise.
//   - It writes what it is given: the length byte must be right.
//   - A read of 0 bytes is a message of length 0, not the end of the device.
//   - SMS_ATN can only be set. It is the host that clears it.
//   - EIO from either call is that the host has changed its mind meanwhile.
//   - Without an interrupt it looks for requests every 500 ms.
type BTPort struct {
	*device
	patience time.Duration
}

// OpenBT opens a device such as /dev/ipmi-bt-host. The errors are those of
// OpenKCS.
func OpenBT(path string) (*BTPort, error) {
	d, err := openDevice(path, 1+btMaxMessage)
	if err != nil {
		return nil, err
	}
	return newBTPort(d), nil
}

func newBTPort(d *device) *BTPort { return &BTPort{device: d, patience: btPatience} }

// Read implements Port. The tag is the host's sequence. Errors are those of
// KCSPort.Read.
func (p *BTPort) Read() (Request, error) { return p.receive(p.take) }

func (p *BTPort) take(fd int) (Request, error) {
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
		p.counts.malformed.Add(1)
		return Request{}, errDropped
	}
	return req, nil
}

// endOr is io.EOF when poll tells of the end of the device.
func endOr(ready int16, err error) error {
	if ready&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		return io.EOF
	}
	return err
}

// parseBTRequest reads length, netFn and LUN, sequence, command, data.
func parseBTRequest(b []byte) (Request, bool) {
	if len(b) < btMinRequest || int(b[0]) != len(b)-1 {
		return Request{}, false
	}
	return requestOf(b[2], b[1], b[3], b[4:])
}

// Write implements Port. An answer that the host does not fetch is counted, and
// no error.
func (p *BTPort) Write(r Response) error {
	if err := r.checkLength(BTMaxData); err != nil {
		return err
	}
	p.out = appendBTResponse(p.out[:0], r)
	for end := time.Now().Add(p.patience); ; {
		var sent bool
		err := p.control("write", func(fd int) (err error) {
			sent, err = p.offer(fd)
			return err
		})
		switch {
		case err != nil || sent:
			return err
		case time.Now().After(end):
			p.counts.unfetched.Add(1)
			return nil
		}
	}
}

// offer writes the answer if the host has fetched the one before, or does
// within one look.
func (p *BTPort) offer(fd int) (sent bool, err error) {
	ready, err := p.poll(fd, unix.POLLOUT, btLook)
	switch {
	case err != nil:
		return false, err
	case ready&unix.POLLOUT == 0:
		return false, endOr(ready, nil)
	}
	err = p.writeAll(fd)
	if err == unix.EIO || err == unix.EINTR {
		return false, nil
	}
	return err == nil, err
}

// appendBTResponse adds length, netFn and LUN, sequence, command, completion
// code, data to b.
func appendBTResponse(b []byte, r Response) []byte {
	return append(append(b, byte(4+len(r.Data)), r.netFnLUN(), r.Tag, byte(r.Command), byte(r.Code)), r.Data...)
}

// SetAttention implements Port: the bit SMS_ATN of the control register, which
// only the host clears.
func (p *BTPort) SetAttention(a Attention) error {
	if !a.Raised {
		return nil
	}
	return p.request("set SMS_ATN on", btSetAttention)
}

// Limits implements Port.
func (p *BTPort) Limits() Limits { return Limits{MaxData: BTMaxData, Deadline: btDeadline} }
