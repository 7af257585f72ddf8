package openipmi

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
	"ipmbd/ipmi"
)

const (
	// receiveRoom is enough for most messages. Receive makes more room when the driver has a
	// longer one, up to maxReceiveRoom, the largest value of its length field.
	receiveRoom    = 64
	maxReceiveRoom = 0xFFFF
)

// The longest data of messages on the channel, behind the netFn, the address and the rest of
// the header (i_ipmi_req_ipmb of ipmi_msghandler.c, ipmi_ipmb_thread of ipmi_ipmb.c).
const (
	maxData       = maxMessage - 10
	maxDirectData = 32 - 6
)

// Device is a device of Linux's IPMI driver, /dev/ipmiN. It leads to a management controller, and
// to one IPMB channel behind that. Other programs may have it open, too. Receive is called from
// one goroutine, all other methods from any.
type Device struct {
	path    string
	channel ipmi.Channel
	file    *chardev.Device
	kernel  kernel
	direct  bool
	counts  counters.Set[counter]

	address []byte // of the Receive in progress
	data    []byte

	mu      sync.Mutex
	calls   map[int]*call // that the driver has, by number; also those that were given up
	last    int           // number given
	waiting []*call       // for the driver, in order
	sending *call         // on its way into the driver
	givenUp int           // of calls
	closed  bool
	cause   error // why it was closed, nil for Close
}

// counter is an index of a Device's counters.
type counter int

const (
	callsStarted counter = iota
	callsAnswered
	callsTimeout
	callsCancelled
	callsBusy
	callsRefused
	callsClosed
	responsesLate       // to calls that were given up
	responsesUnexpected // to no call, or to another command
	messagesUnread      // of kinds that cannot be answered
	messagesMalformed
	answersRefused // answers of ours that were not carried
	driverEvents
	driverEventsOther // records that are no events
)

var counterNames = []string{
	callsStarted: "calls-started", callsAnswered: "calls-answered",
	callsTimeout: "calls-timeout", callsCancelled: "calls-cancelled", callsBusy: "calls-busy",
	callsRefused: "calls-refused", callsClosed: "calls-closed", responsesLate: "responses-late",
	responsesUnexpected: "responses-unexpected", messagesUnread: "messages-unread",
	messagesMalformed: "messages-malformed", answersRefused: "answers-refused",
	driverEvents: "driver-events", driverEventsOther: "driver-events-other",
}

// Open opens a device for an IPMB channel, 0 to 11. The errors are *fs.PathErrors that unwrap
// to the system's or to chardev.ErrNotDevice.
func Open(path string, channel ipmi.Channel, counts counters.Set[counter]) (*Device, error) {
	file, err := chardev.Open(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return newDevice(path, channel, file, linux, counts)
}

func newDevice(
	path string, channel ipmi.Channel, file *chardev.Device, k kernel, counts counters.Set[counter],
) (*Device, error) {
	d := &Device{
		path: path, channel: channel, file: file, kernel: k, counts: counts,
		address: make([]byte, nodeRoom), data: make([]byte, receiveRoom), calls: make(map[int]*call),
	}
	var err error
	if d.direct, err = d.isDirect(); err != nil {
		file.Close()
		return nil, err
	}
	return d, nil
}

// isDirect finds out whether the driver sends on IPMB itself, with a message that is too long:
// EMSGSIZE says that the driver sends itself, EAFNOSUPPORT and EINVAL that it does not.
func (d *Device) isDirect() (bool, error) {
	if d.channel != ipmi.ChannelPrimaryIPMB {
		return false, nil
	}
	err := d.file.Control(func(fd int) error {
		return d.kernel.send(fd, outgoing{
			to: node{kind: direct}, netFn: ipmi.NetFnApp, command: ipmi.CommandGetDeviceID, data: make([]byte, maxMessage-2),
		})
	})
	switch err {
	case io.EOF, os.ErrClosed, unix.ENODEV:
		return false, &os.PathError{Op: "open", Path: d.path, Err: err}
	}
	return err == unix.EMSGSIZE, nil
}

// Direct reports whether the driver sends on IPMB itself, and not through the controller.
func (d *Device) Direct() bool { return d.direct }

// MaxData is the largest number of bytes in the data of a request, and of a response with its
// completion code.
func (d *Device) MaxData() int {
	if d.direct {
		return maxDirectData
	}
	return maxData
}

// Receive waits for a request from the channel, or for the record of an event of the controller,
// usually 16 bytes: then event is not nil. Meanwhile it ends the calls whose responses come. The
// results are valid until the next Receive. The error is io.EOF when the device has gone,
// os.ErrClosed after Close, and otherwise a *fs.PathError. After an error the device is closed.
func (d *Device) Receive() (req ipmi.Request, event []byte, err error) {
	for {
		in, err := d.readMessage()
		if err != nil {
			return ipmi.Request{}, nil, d.fail(err)
		}
		switch in.kind {
		case kindResponse:
			d.endAnswered(in)
		case kindResponseResponse:
			if len(in.data) == 0 || ipmi.CompletionCode(in.data[0]) != ipmi.CodeOK {
				d.counts.Count(answersRefused)
			}
		case kindEvent:
			return ipmi.Request{}, in.data, nil
		case kindRequest:
			if req, ok := d.request(in); ok {
				return req, nil, nil
			}
		default:
			d.counts.Count(messagesUnread)
		}
	}
}

func (d *Device) readMessage() (in received, err error) {
	waited := d.file.Read(func(fd uintptr) (done bool) {
		for {
			in, err = d.kernel.receive(int(fd), d.address, d.data)
			switch {
			case err == unix.EINTR:
			case err == unix.EMSGSIZE && len(d.data) < maxReceiveRoom:
				d.data = make([]byte, min(4*len(d.data), maxReceiveRoom))
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

// request makes a request of a message from the channel.
func (d *Device) request(in received) (ipmi.Request, bool) {
	from, ok := parseNode(in.address)
	if !ok || from.kind != d.kind() || from.channel != d.channel {
		d.counts.Count(messagesUnread)
		return ipmi.Request{}, false
	}
	req := ipmi.Request{
		Requester: from.address, RequesterLUN: from.lun, Sequence: uint8(in.id),
		NetFn: in.netFn, Command: in.command, Data: in.data,
	}
	if d.direct { // Else the driver does not say which LUN of ours it is for.
		req.RequesterLUN, req.LUN = from.requesterLUN, from.lun
	}
	if in.netFn.IsResponse() || in.netFn > ipmi.MaxNetFn || in.id < 0 || in.id > 0x3F ||
		req.LUN > ipmi.MaxLUN || req.RequesterLUN > ipmi.MaxLUN || len(in.data) > maxMessage {
		d.counts.Count(messagesMalformed)
		return ipmi.Request{}, false
	}
	return req, true
}

// kind is the kind of nodes on the channel.
func (d *Device) kind() int32 {
	if d.direct {
		return direct
	}
	return viaController
}

// Respond answers a request. If the bus does not carry the response, Respond only counts that.
func (d *Device) Respond(req *ipmi.Request, response []byte) error {
	to := node{kind: d.kind(), channel: d.channel, address: req.Requester, lun: req.RequesterLUN}
	if d.direct {
		to.lun, to.requesterLUN = req.LUN, req.RequesterLUN
	}
	return d.control("answer", func(fd int) error {
		return d.kernel.send(fd, outgoing{
			id: int(req.Sequence), to: to, netFn: req.NetFn.Response(), command: req.Command, data: response,
		})
	})
}

// Register makes the driver pass on requests of a command from the channel, or ends that. The
// error unix.EBUSY says that another program receives them, and unix.ENOENT that we do not.
func (d *Device) Register(c ipmi.Commands, on bool) error {
	return d.control("register on", func(fd int) error {
		return d.kernel.register(fd, c, d.channel.Mask(), on)
	})
}

// SetEvents makes the driver pass on events, or ends that. The first program that asks gets the
// events that wait in the driver. Events in our own queue come in any case.
func (d *Device) SetEvents(on bool) error {
	return d.control("ask for events on", func(fd int) error { return d.kernel.getsEvents(fd, on) })
}

// Address returns the controller's own address on the channel, from which it sends requests.
func (d *Device) Address() (a ipmi.Address, err error) {
	err = d.control("get the address of", func(fd int) (err error) {
		a, err = d.kernel.getAddress(fd, d.channel)
		return err
	})
	return a, err
}

// SetAddress changes the address for all programs that use the driver.
func (d *Device) SetAddress(a ipmi.Address) error {
	return d.control("set the address of", func(fd int) error { return d.kernel.setAddress(fd, d.channel, a) })
}

// control makes a request of the driver. ENODEV is that its interface has gone.
func (d *Device) control(op string, f func(fd int) error) error {
	err := d.file.Control(f)
	if err == unix.ENODEV || err == io.EOF {
		return d.fail(err)
	}
	return d.wrap(op, err)
}

// fail closes the device for a reason, and returns the first reason that there was.
func (d *Device) fail(err error) error {
	err = d.wrap("use", err)
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

// wrap adds the device's name to an error, except io.EOF and the error of Close.
func (d *Device) wrap(op string, err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrClosed) {
		return err
	}
	return &os.PathError{Op: op, Path: d.path, Err: err}
}
