package host

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

const (
	// openIPMIRoom is what most messages fit in. Receive makes more room when the
	// driver has a longer one.
	openIPMIRoom = 64
	// openIPMIMaxRoom is the most that the driver's length field can tell.
	openIPMIMaxRoom = 0xFFFF
)

// OpenIPMI is the host's side of a management controller by way of Linux's IPMI
// driver: /dev/ipmiN, drivers/char/ipmi/ipmi_devintf.c. Through it one IPMB channel
// of the controller is reached as well. Other programs may have the device open,
// too. Receive is called from one goroutine, all other methods from any.
//
// Quirks of the driver:
//   - It numbers what it sends on IPMB, repeats what is not answered, and answers
//     C3h itself in the end; its clock ticks once a second. So it does for what
//     nobody acknowledges. Its own C3h looks like one of the responder's.
//   - What goes to the controller itself has no limit of time but that of the
//     interface below.
//   - Below ipmi_ipmb.c it sends on IPMB itself ([OpenIPMI.Direct]): one message at
//     a time, of 32 bytes at most, and what is not carried is answered 82h.
//   - A command is either registered for one by one, or answered C1h by the driver.
type OpenIPMI struct {
	path    string
	channel ipmi.Channel
	file    *chardev.Device
	kernel  openIPMICalls
	direct  bool
	counts  openIPMICounters

	address []byte // of the Receive that is under way
	data    []byte

	slots chan struct{} // a place for each call that the driver has not answered

	mu     sync.Mutex
	calls  map[int]*openIPMICall // by number, those that were given up too
	last   int                   // number given
	closed bool
	cause  error // why it was closed, nil for Close
}

// openIPMICounters are those of a device.
type openIPMICounters struct {
	started, answered, silent, cancelled, busy, refused, closed atomic.Uint64

	late       atomic.Uint64 // answers to calls that were given up
	unexpected atomic.Uint64 // answers to no call, or to another command
	unread     atomic.Uint64 // messages of kinds that nobody can answer
	malformed  atomic.Uint64 // messages that are none
	refusals   atomic.Uint64 // answers of ours that were not carried
}

// OpenOpenIPMI opens a device such as /dev/ipmi0 for an IPMB channel, 0 to 11. The
// errors are *fs.PathErrors that unwrap to the system's or to chardev.ErrNotDevice.
func OpenOpenIPMI(path string, channel ipmi.Channel) (*OpenIPMI, error) {
	file, err := chardev.Open(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return newOpenIPMI(path, channel, file, kernelOpenIPMI)
}

func newOpenIPMI(path string, channel ipmi.Channel, file *chardev.Device, kernel openIPMICalls) (*OpenIPMI, error) {
	d := &OpenIPMI{
		path: path, channel: channel, file: file, kernel: kernel,
		address: make([]byte, openIPMIAddressRoom), data: make([]byte, openIPMIRoom),
		slots: make(chan struct{}, maxOpenIPMICalls), calls: make(map[int]*openIPMICall),
	}
	var err error
	if d.direct, err = d.isDirect(); err != nil {
		file.Close()
		return nil, err
	}
	return d, nil
}

// isDirect asks whether the driver sends on IPMB itself, by a message that is too
// long to be sent: EMSGSIZE says that it would be, EAFNOSUPPORT and EINVAL that
// nothing is.
func (d *OpenIPMI) isDirect() (bool, error) {
	if d.channel != ipmi.ChannelPrimaryIPMB {
		return false, nil
	}
	err := d.file.Control(func(fd int) error {
		to := openIPMIAddress{kind: openIPMIDirect}
		return d.kernel.send(fd, 0, to, ipmi.NetFnApp, ipmi.CommandGetDeviceID, make([]byte, openIPMIMaxMessage-2), 0, 0)
	})
	switch err {
	case io.EOF, os.ErrClosed, unix.ENODEV:
		return false, &os.PathError{Op: "open", Path: d.path, Err: err}
	}
	return err == unix.EMSGSIZE, nil
}

// Direct reports whether the driver sends on IPMB itself, and not by way of the
// management controller.
func (d *OpenIPMI) Direct() bool { return d.direct }

// OpenIPMIMessage is a request or an event that has come in. Data is valid until
// the next Receive.
type OpenIPMIMessage struct {
	// Event: Data is a record of an event, 16 bytes as a rule. All else is nil.
	Event bool

	Requester    ipmi.Address
	RequesterLUN ipmi.LUN
	Sequence     uint8 // the requester's
	NetFn        ipmi.NetFn
	LUN          ipmi.LUN // ours; 0 where the driver does not say
	Command      ipmi.Command
	Data         []byte
}

// Receive waits for a request or an event, and meanwhile gives answers to those who
// wait in Do. It returns io.EOF when the device has gone, os.ErrClosed after Close,
// and otherwise *fs.PathErrors; after each of them the device is closed.
func (d *OpenIPMI) Receive() (OpenIPMIMessage, error) {
	for {
		in, err := d.take()
		if err != nil {
			return OpenIPMIMessage{}, d.end(err)
		}
		if m, ok := d.sort(in); ok {
			return m, nil
		}
	}
}

// take waits for a message.
func (d *OpenIPMI) take() (in openIPMIReceived, err error) {
	waited := d.file.Read(func(fd uintptr) (done bool) {
		for {
			in, err = d.kernel.receive(int(fd), d.address, d.data)
			switch {
			case err == unix.EINTR:
			case err == unix.EMSGSIZE && len(d.data) < openIPMIMaxRoom:
				d.data = make([]byte, min(4*len(d.data), openIPMIMaxRoom))
			default:
				return err != unix.EAGAIN
			}
		}
	})
	if waited != nil {
		err = waited
	}
	return in, err
}

// sort gives an answer to its call, and makes a message of a request and an event.
func (d *OpenIPMI) sort(in openIPMIReceived) (OpenIPMIMessage, bool) {
	switch in.kind {
	case openIPMIResponse:
		d.answer(in)
	case openIPMIResponseResponse:
		if len(in.data) == 0 || ipmi.CompletionCode(in.data[0]) != ipmi.CodeOK {
			d.counts.refusals.Add(1)
		}
	case openIPMIEvent:
		return OpenIPMIMessage{Event: true, Data: in.data}, true
	case openIPMIRequest:
		return d.request(in)
	default:
		d.counts.unread.Add(1)
	}
	return OpenIPMIMessage{}, false
}

// request makes a message of a request from the channel.
func (d *OpenIPMI) request(in openIPMIReceived) (OpenIPMIMessage, bool) {
	from, ok := parseOpenIPMIAddress(in.address)
	if !ok || from.kind != d.kind() || from.channel != d.channel {
		d.counts.unread.Add(1)
		return OpenIPMIMessage{}, false
	}
	m := OpenIPMIMessage{
		Requester: from.address, RequesterLUN: from.lun, Sequence: uint8(in.id),
		NetFn: in.netFn, Command: in.command, Data: in.data,
	}
	if d.direct {
		m.RequesterLUN, m.LUN = from.requesterLUN, from.lun
	}
	if in.netFn.IsResponse() || in.netFn > ipmi.MaxNetFn || in.id < 0 || in.id > 0x3F ||
		m.LUN > ipmi.MaxLUN || m.RequesterLUN > ipmi.MaxLUN || len(in.data) > openIPMIMaxMessage {
		d.counts.malformed.Add(1)
		return OpenIPMIMessage{}, false
	}
	return m, true
}

// kind is the type of addresses on the channel.
func (d *OpenIPMI) kind() int32 {
	if d.direct {
		return openIPMIDirect
	}
	return openIPMIIPMB
}

// Respond answers a request: data of m are the answer's, behind its completion
// code. That the bus has not taken it is only counted.
func (d *OpenIPMI) Respond(m OpenIPMIMessage, code ipmi.CompletionCode) error {
	to := openIPMIAddress{kind: d.kind(), channel: d.channel, address: m.Requester, lun: m.RequesterLUN}
	if d.direct {
		to.lun, to.requesterLUN = m.LUN, m.RequesterLUN
	}
	data := append([]byte{byte(code)}, m.Data...)
	return d.control("answer", func(fd int) error {
		return d.kernel.send(fd, int(m.Sequence), to, m.NetFn.Response(), m.Command, data, 0, 0)
	})
}

// Register asks for the requests of a command from the channel; unix.EBUSY is that
// another program has them.
func (d *OpenIPMI) Register(netFn ipmi.NetFn, command ipmi.Command) error {
	return d.control("register on", func(fd int) error { return d.kernel.register(fd, netFn, command, d.channel.Mask()) })
}

// Unregister ends what Register began.
func (d *OpenIPMI) Unregister(netFn ipmi.NetFn, command ipmi.Command) error {
	return d.control("unregister on", func(fd int) error { return d.kernel.unregister(fd, netFn, command, d.channel.Mask()) })
}

// SetEvents says whether events are to be received; who is the first to say so is
// given those that wait in the driver. What is in our queue comes anyway.
func (d *OpenIPMI) SetEvents(on bool) error {
	return d.control("ask for events on", func(fd int) error { return d.kernel.getsEvents(fd, on) })
}

// Address is the management controller's on the channel, from which requests are
// sent.
func (d *OpenIPMI) Address() (a ipmi.Address, err error) {
	err = d.control("get the address of", func(fd int) (err error) {
		a, err = d.kernel.getAddress(fd, d.channel)
		return err
	})
	return a, err
}

// SetAddress changes it, for all programs that use the driver.
func (d *OpenIPMI) SetAddress(a ipmi.Address) error {
	return d.control("set the address of", func(fd int) error { return d.kernel.setAddress(fd, d.channel, a) })
}

// The longest messages, behind the netFn, the address and what else there is of a
// header (i_ipmi_req_ipmb of ipmi_msghandler.c, ipmi_ipmb_thread of ipmi_ipmb.c).
const (
	openIPMIMaxData       = openIPMIMaxMessage - 10
	openIPMIMaxDirectData = 32 - 6
)

// MaxData is how many bytes of data a request on the channel may have, and a
// response with its completion code.
func (d *OpenIPMI) MaxData() int {
	if d.direct {
		return openIPMIMaxDirectData
	}
	return openIPMIMaxData
}

// control makes a request of the driver's. ENODEV is that its interface has gone.
func (d *OpenIPMI) control(op string, f func(fd int) error) error {
	err := d.file.Control(f)
	if err == unix.ENODEV || err == io.EOF {
		return d.end(err)
	}
	return d.failed(op, err)
}

// end closes the device for a reason, and returns the first one that there was.
func (d *OpenIPMI) end(err error) error {
	err = d.failed("use", err)
	d.mu.Lock()
	if !d.closed && d.cause == nil {
		d.cause = err
	}
	err = d.cause
	d.mu.Unlock()
	d.Close()
	if err == nil {
		return os.ErrClosed
	}
	return err
}

// failed names the device of an error. The end of the device and Close have no
// more to say.
func (d *OpenIPMI) failed(op string, err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrClosed) {
		return err
	}
	return &os.PathError{Op: op, Path: d.path, Err: err}
}

// Close ends Receive and all calls.
func (d *OpenIPMI) Close() error {
	d.mu.Lock()
	d.closed = true
	for _, c := range d.calls {
		d.settle(c, openIPMIOutcome{err: os.ErrClosed})
	}
	d.mu.Unlock()
	return d.file.Close()
}

// Counters implements Counter: how calls ended, and what came to nothing.
func (d *OpenIPMI) Counters() map[string]uint64 {
	c := &d.counts
	return map[string]uint64{
		"calls-started":        c.started.Load(),
		"calls-answered":       c.answered.Load(),
		"calls-timeout":        c.silent.Load(),
		"calls-cancelled":      c.cancelled.Load(),
		"calls-busy":           c.busy.Load(),
		"calls-refused":        c.refused.Load(),
		"calls-closed":         c.closed.Load(),
		"responses-late":       c.late.Load(),
		"responses-unexpected": c.unexpected.Load(),
		"messages-unread":      c.unread.Load(),
		"messages-malformed":   c.malformed.Load(),
		"answers-refused":      c.refusals.Load(),
	}
}
