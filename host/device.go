package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
)

// device is the common part of the Ports at character devices: KCS, BT and SSIF. Each system call
// carries one message.
type device struct {
	path   string
	file   *chardev.Device
	read   func(fd int, b []byte) (int, error)
	write  func(fd int, b []byte) (int, error)
	poll   func(fd int, events int16, wait time.Duration) (ready int16, err error)
	ioctl  func(fd int, request uintptr) error
	in     []byte // of the read that is under way
	out    []byte // of the write
	counts counters.Set[deviceCounter]
}

// openPort opens the device at path, whose requests are no longer than room bytes, and makes a
// Port of it.
func openPort[P Port](path string, room int, newPort func(*device) P) (port P, err error) {
	file, err := chardev.Open(path)
	if err != nil {
		return port, openError(path, err)
	}
	return newPort(newDevice(path, file, room)), nil
}

func openError(path string, err error) error {
	if err == unix.EBUSY { // All three drivers let one program open the device.
		err = fmt.Errorf("%w: another program serves this host", err)
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

func newDevice(path string, file *chardev.Device, room int) *device {
	return &device{
		path: path, file: file, in: make([]byte, room), counts: counters.New[deviceCounter](deviceCounterNames),
		read: unix.Read, write: unix.Write, poll: pollDevice, ioctl: chardev.Ioctl,
	}
}

// pollDevice returns which events there are, after a while at most. The runtime's signals
// interrupt even a poll that does not wait.
func pollDevice(fd int, events int16, wait time.Duration) (ready int16, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err = unix.Poll(fds, int(wait.Milliseconds()))
		if err != unix.EINTR {
			return fds[0].Revents, err
		}
	}
}

// errDropped: a message that was read is no request. It has been counted.
var errDropped = errors.New("dropped")

// receive calls readRequest until that returns a request, or an error that ends the device. After
// EAGAIN it waits until there is something to read.
func (d *device) receive(readRequest func(fd int) (Request, error)) (req Request, err error) {
	waited := d.file.Read(func(fd uintptr) (done bool) {
		for {
			req, err = readRequest(int(fd))
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
	return req, d.named("read", err)
}

// control calls f for a system call that the poller takes no part in.
func (d *device) control(op string, f func(fd int) error) error {
	return d.named(op, d.file.Control(f))
}

// request makes an ioctl of the driver that has no argument.
func (d *device) request(op string, number uint8) error {
	return d.control(op, func(fd int) error { return d.ioctl(fd, chardev.Request(bmcGroup, number)) })
}

// bmcGroup is __IPMI_BMC_IOCTL_MAGIC of include/uapi/linux/ipmi_bmc.h and of
// include/uapi/linux/bt-bmc.h.
const bmcGroup = 0xB1

// named adds the operation and the device to an error, but not to io.EOF and the error of Close.
func (d *device) named(op string, err error) error {
	if err == nil || err == io.EOF || err == os.ErrClosed {
		return err
	}
	return &os.PathError{Op: op, Path: d.path, Err: err}
}

// malformed counts a message that is no request.
func (d *device) malformed() (Request, error) {
	d.counts.Count(requestsMalformed)
	return Request{}, errDropped
}

// Close ends Read and the methods that write, and waits for a call that is in the kernel.
func (d *device) Close() error { return d.file.Close() }

// countIn sets the counters, which outlive the device.
func (d *device) countIn(counts counters.Set[deviceCounter]) { d.counts = counts }

// unnumbered is a device of a medium that does not number requests. Its driver takes each write
// for the response to the request that was read last. So a response to a request that the host
// has given up must not be written.
type unnumbered struct {
	*device
	// mu makes one step of reading a request and noting it, and one of checking a response and
	// writing it. It is held over system calls that do not wait.
	mu   sync.Mutex
	tag  uint8 // of the request that was read last
	open bool  // that request has no response yet
}

// readRequest reads a request and gives it a tag.
func (u *unnumbered) readRequest(fd int, parse func(tag uint8, b []byte) (Request, bool)) (Request, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, err := u.read(fd, u.in)
	switch {
	case err != nil:
		return Request{}, err
	case n == 0:
		return Request{}, io.EOF
	}
	u.tag++
	req, ok := parse(u.tag, u.in[:n])
	if u.open = ok; !ok {
		return u.malformed()
	}
	return req, nil
}

// respond writes u.out, unless it responds to another request than the last one, and counts a
// response that the driver refuses. The caller holds the mutex.
func (u *unnumbered) respond(fd int, tag uint8, refusals []error) error {
	if !u.open || u.tag != tag {
		u.counts.Count(responsesSuperseded)
		return nil
	}
	u.open = false
	err := chardev.WriteMessage(u.write, fd, u.out)
	if slices.Contains(refusals, err) {
		u.counts.Count(responsesRefused)
		return nil
	}
	return err
}

// Finish implements Port. Write leaves nothing: the driver takes a response at once, or never.
func (u *unnumbered) Finish() error { return nil }
