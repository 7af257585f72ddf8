package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// device is what the character devices of KCS, BT and SSIF share: each system
// call carries one message.
type device struct {
	path   string
	file   *chardev.Device
	read   func(fd int, b []byte) (int, error)
	write  func(fd int, b []byte) (int, error)
	poll   func(fd int, events int16, wait time.Duration) (ready int16, err error)
	ioctl  func(fd int, request uintptr) error
	in     []byte // of the read that is under way
	out    []byte // of the write
	counts deviceCounters
}

// openDevice opens the node at path, whose requests are no longer than room
// bytes.
func openDevice(path string, room int) (*device, error) {
	file, err := chardev.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	return newDevice(path, file, room), nil
}

// openError names the device. All three drivers let one program in.
func openError(path string, err error) error {
	if err == unix.EBUSY {
		err = fmt.Errorf("%w: another program serves this host", err)
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

func newDevice(path string, file *chardev.Device, room int) *device {
	return &device{
		path: path, file: file, in: make([]byte, room),
		read: unix.Read, write: unix.Write, poll: pollDevice, ioctl: chardev.Ioctl,
	}
}

// pollDevice tells which events there are, after a while at most. The runtime's
// signals interrupt even a poll that does not wait.
func pollDevice(fd int, events int16, wait time.Duration) (ready int16, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err = unix.Poll(fds, int(wait.Milliseconds()))
		if err != unix.EINTR {
			return fds[0].Revents, err
		}
	}
}

// errDropped: what was read is no request, and has been counted.
var errDropped = errors.New("dropped")

// receive calls take until it has a request, or an error that ends the device.
// EAGAIN is that nothing is there, and makes it wait.
func (d *device) receive(take func(fd int) (Request, error)) (req Request, err error) {
	waited := d.file.Read(func(fd uintptr) (done bool) {
		for {
			req, err = take(int(fd))
			switch err {
			case errDropped, unix.EINTR:
				continue
			}
			return err != unix.EAGAIN
		}
	})
	if waited != nil {
		err = waited
	}
	return req, d.failed("read", err)
}

// control has f make a system call that the poller has no part in.
func (d *device) control(op string, f func(fd int) error) error {
	return d.failed(op, d.file.Control(f))
}

// request makes a request of the driver's that has no argument.
func (d *device) request(op string, number uint8) error {
	return d.control(op, func(fd int) error { return d.ioctl(fd, chardev.Request(bmcGroup, number)) })
}

// failed names the device of an error. The end of the device and Close have no
// more to say.
func (d *device) failed(op string, err error) error {
	if err == nil || err == io.EOF || err == os.ErrClosed {
		return err
	}
	return &os.PathError{Op: op, Path: d.path, Err: err}
}

// writeAll makes the one system call that sends d.out.
func (d *device) writeAll(fd int) error { return chardev.WriteMessage(d.write, fd, d.out) }

// Close ends Read and Write, and waits for a call that is in the kernel.
func (d *device) Close() error { return d.file.Close() }

// Counters implements Counter.
func (d *device) Counters() map[string]uint64 { return d.counts.snapshot() }

// bmcGroup is __IPMI_BMC_IOCTL_MAGIC of include/uapi/linux/ipmi_bmc.h and of
// include/uapi/linux/bt-bmc.h.
const bmcGroup = 0xB1

// requestOf is a request without its medium's framing: no response is one.
func requestOf(tag, netFnLUN, command byte, data []byte) (Request, bool) {
	r := Request{
		Tag:     tag,
		NetFn:   ipmi.NetFn(netFnLUN >> 2),
		LUN:     ipmi.LUN(netFnLUN & 3),
		Command: ipmi.Command(command),
		Data:    data,
	}
	return r, !r.NetFn.IsResponse()
}

// netFnLUN is the byte that begins a response.
func (r *Response) netFnLUN() byte { return byte(r.NetFn)<<2 | byte(r.LUN) }

// checkLength refuses an answer that the medium would cut off.
func (r *Response) checkLength(most int) error {
	if len(r.Data) > most {
		return fmt.Errorf("%w: %d bytes, at most %d fit the host's interface", ipmi.ErrResponseTooLong, len(r.Data), most)
	}
	return nil
}
