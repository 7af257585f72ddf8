package openipmi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// ipmiDriver plays ipmi_devintf.c and the layers below it. Its device is one end of a socket pair;
// while a message waits there is something to read in it.
type ipmiDriver struct {
	t    *testing.T
	wake int

	mu       sync.Mutex
	queue    []received
	failure  error // of each send from now on
	direct   bool
	own      ipmi.Address
	commands map[string]bool
	others   map[string]bool // commands of another program
	sent     chan outgoing
}

func newIPMIDriver(t *testing.T) (*ipmiDriver, *chardev.Device) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	file, err := chardev.New(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	return &ipmiDriver{t: t, wake: fds[1], own: 0x20, commands: map[string]bool{}, others: map[string]bool{}, sent: make(chan outgoing, 1000)}, file
}

func (k *ipmiDriver) calls() kernel {
	return kernel{
		send: k.send, receive: k.receive,
		register:   k.register,
		getsEvents: func(int, bool) error { return nil },
		setAddress: func(_ int, _ ipmi.Channel, a ipmi.Address) error { k.own = a; return nil },
		getAddress: func(int, ipmi.Channel) (ipmi.Address, error) { return k.own, nil },
	}
}

func (k *ipmiDriver) send(_ int, m outgoing) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.failure != nil:
		return k.failure
	case m.to.kind == direct && !k.direct:
		return unix.EAFNOSUPPORT
	case len(m.data)+4 > maxMessage:
		return unix.EMSGSIZE
	}
	m.data = bytes.Clone(m.data)
	k.sent <- m
	return nil
}

func (k *ipmiDriver) receive(fd int, address, data []byte) (received, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		unix.Read(fd, make([]byte, 8))
		return received{}, unix.EAGAIN
	}
	in := k.queue[0]
	if len(data) < len(in.data) {
		return received{}, unix.EMSGSIZE
	}
	k.queue = k.queue[1:]
	in.address, in.data = address[:copy(address, in.address)], data[:copy(data, in.data)]
	return in, nil
}

func (k *ipmiDriver) register(_ int, c ipmi.Commands, channels ipmi.ChannelMask, on bool) error {
	key := fmt.Sprintf("%02X %02X %X", uint8(c.NetFn), uint8(c.Command), uint32(channels))
	if on && k.others[key] {
		return unix.EBUSY
	}
	if k.commands[key] = on; !on {
		delete(k.commands, key)
	}
	return nil
}

// says puts messages into the driver's queue.
func (k *ipmiDriver) says(messages ...received) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		unix.Write(k.wake, []byte{0})
	}
	k.queue = append(k.queue, messages...)
}

// answers answers a request with a completion code and data.
func (k *ipmiDriver) answers(s outgoing, answer ...byte) {
	address := s.to.bytes()
	k.says(received{kind: kindResponse, id: s.id, netFn: s.netFn.Response(), command: s.command, address: address[:], data: answer})
}

// request is a request that came from IPMB.
func (a node) request(seq int, netFn ipmi.NetFn, command ipmi.Command, data ...byte) received {
	address := a.bytes()
	return received{kind: kindRequest, id: seq, netFn: netFn, command: command, address: address[:], data: data}
}

// next is the next message that was sent.
func (k *ipmiDriver) next() outgoing {
	k.t.Helper()
	select {
	case s := <-k.sent:
		return s
	case <-time.After(timeLimit):
		k.t.Fatal("nothing was sent")
		panic("unreachable")
	}
}

// message has the results of Receive.
type message struct {
	ipmi.Request
	event []byte
}

// openDriver opens a device on a driver, and returns it with the channel of its messages. The
// device ends with the test.
func openDriver(t *testing.T, channel ipmi.Channel, change func(k *ipmiDriver)) (*Device, *ipmiDriver, <-chan message, <-chan error) {
	t.Helper()
	k, file := newIPMIDriver(t)
	change(k)
	d, err := newDevice("/dev/ipmi0", channel, file, k.calls(), counters.New[counter](counterNames))
	if err != nil {
		t.Fatal(err)
	}
	in, ended := make(chan message, 1000), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			req, event, err := d.Receive()
			if err != nil {
				ended <- err
				return
			}
			req.Data = bytes.Clone(req.Data)
			in <- message{req, bytes.Clone(event)}
		}
	})
	t.Cleanup(func() { d.Close(); reading.Wait() })
	return d, k, in, ended
}

func asIs(*ipmiDriver) {}

func isDirect(k *ipmiDriver) { k.direct = true }

// getDeviceID is a request that has long to be answered.
var getDeviceID = ipmb.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID, RetryPolicy: ipmb.RetryPolicy{Tries: 2, Timeout: timeLimit}}

// timeLimit is how long a test waits.
const timeLimit = 20 * time.Second

type outcome struct {
	response ipmi.Response
	err      error
}

// asks makes a call, which is cancelled when ctx ends.
func asks(d *Device, ctx context.Context, r ipmb.Request) <-chan outcome {
	done := make(chan outcome, 1)
	c := &call{request: r, owner: bus.NewCall(nil, nil), done: func(res ipmi.Response, err error) {
		res.Data = bytes.Clone(res.Data)
		done <- outcome{res, err}
	}}
	if err := d.Send(c); err != nil {
		done <- outcome{err: err}
	}
	context.AfterFunc(ctx, func() { d.Cancel(c.owner) })
	return done
}

// do makes a call and waits for its end.
func do(t *testing.T, d *Device, r ipmb.Request) (ipmi.Response, error) {
	o := <-asks(d, t.Context(), r)
	return o.response, o.err
}

// left is how many calls the driver has, and how many of them were given up.
func left(d *Device) (calls, givenUp int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls), d.givenUp
}

func counts(t *testing.T, d *Device, name string, want uint64) {
	t.Helper()
	for end := time.Now().Add(timeLimit); d.counts.Statistics()[name] != want; {
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", name, d.counts.Statistics()[name], want)
		}
	}
}

func TestNodesOfRequests(t *testing.T) {
	request := func(change func(*ipmb.Request)) ipmb.Request {
		r := getDeviceID
		r.Data = []byte{1, 2}
		change(&r)
		return r
	}
	system := node{kind: systemInterface, channel: 15}
	for name, c := range map[string]struct {
		on      func(*ipmiDriver)
		channel ipmi.Channel
		request ipmb.Request
		want    node
		err     error
	}{
		"the controller":             {asIs, 0, request(func(r *ipmb.Request) { r.LUN = 0 }), system, nil},
		"a LUN of the controller":    {asIs, 7, request(func(r *ipmb.Request) { r.LUN = 3 }), node{kind: systemInterface, channel: 15, lun: 3}, nil},
		"IPMB":                       {asIs, 0, request(func(r *ipmb.Request) { r.Responder, r.LUN = 0x82, 1 }), node{kind: viaController, address: 0x82, lun: 1}, nil},
		"another channel":            {asIs, 7, request(func(r *ipmb.Request) { r.Responder = 0x82 }), node{kind: viaController, channel: 7, address: 0x82}, nil},
		"a broadcast":                {asIs, 0, request(func(r *ipmb.Request) { r.Responder, r.GeneralCall = 0x82, true }), node{kind: broadcast, address: 0x82}, nil},
		"direct":                     {isDirect, 0, request(func(r *ipmb.Request) { r.Responder, r.LUN, r.RequesterLUN = 0x82, 1, 2 }), node{kind: direct, address: 0x82, lun: 1, requesterLUN: 2}, nil},
		"another channel is not":     {isDirect, 7, request(func(r *ipmb.Request) { r.Responder = 0x82 }), node{kind: viaController, channel: 7, address: 0x82}, nil},
		"a LUN of ours":              {asIs, 0, request(func(r *ipmb.Request) { r.Responder, r.RequesterLUN = 0x82, 2 }), node{}, ipmb.ErrUnsupported},
		"a LUN to the controller":    {isDirect, 0, request(func(r *ipmb.Request) { r.RequesterLUN = 2 }), node{}, ipmb.ErrUnsupported},
		"a direct broadcast":         {isDirect, 0, request(func(r *ipmb.Request) { r.Responder, r.GeneralCall = 0x82, true }), node{}, ipmb.ErrUnsupported},
		"what the driver keeps":      {asIs, 0, request(func(r *ipmb.Request) { r.Command = 0x34 }), node{}, ipmb.ErrUnsupported},
		"what it lets pass on a bus": {asIs, 0, request(func(r *ipmb.Request) { r.Command, r.Responder = 0x34, 0x82 }), node{kind: viaController, address: 0x82}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, k, _, _ := openDriver(t, c.channel, c.on)
			done := asks(d, t.Context(), c.request)
			if c.err == nil {
				s := k.next()
				if s.to != c.want || s.netFn != c.request.NetFn || s.command != c.request.Command || !bytes.Equal(s.data, []byte{1, 2}) {
					t.Errorf("sent %+v", s)
				}
				if s.retries != 1 || time.Duration(s.retryTime)*time.Millisecond != timeLimit {
					t.Errorf("%d retries after %d ms", s.retries, s.retryTime)
				}
				k.answers(s, 0)
			}
			if o := <-done; !errors.Is(o.err, c.err) {
				t.Errorf("ended with %v", o.err)
			}
		})
	}
}

func TestAnswersInAnyOrder(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	const n = maxCalls
	calls := map[byte]<-chan outcome{}
	for i := range byte(n) {
		r := getDeviceID
		r.Data = []byte{i}
		calls[i] = asks(d, t.Context(), r)
	}
	var sent []outgoing
	ids := map[int]bool{}
	for range n {
		s := k.next()
		sent, ids[s.id] = append(sent, s), true
	}
	if len(ids) != n {
		t.Fatalf("%d numbers for %d calls", len(ids), n)
	}
	noWait := getDeviceID
	noWait.NoWait = true
	if _, err := do(t, d, noWait); !errors.Is(err, ipmb.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	one := asks(d, t.Context(), getDeviceID) // waits
	slices.Reverse(sent)
	for _, s := range sent {
		k.answers(s, append([]byte{0xC0}, s.data...)...)
	}
	for i, call := range calls {
		if diff := cmp.Diff(ipmi.Response{Code: 0xC0, Data: []byte{i}}, (<-call).response); diff != "" {
			t.Error(diff)
		}
	}
	k.answers(k.next(), 0)
	if o := <-one; o.err != nil {
		t.Errorf("the one that waited: %v", o.err)
	}
}

// TestLateAnswer: a late response ends no other call, and until it comes no other call has its
// number.
func TestLateAnswer(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	short := getDeviceID
	short.RetryPolicy = ipmb.RetryPolicy{Tries: 1, Timeout: time.Millisecond}
	if _, err := do(t, d, short); !errors.Is(err, ipmb.ErrTimeout) {
		t.Fatal(err)
	}
	late := k.next()
	ctx, cancel := context.WithCancel(t.Context())
	given := asks(d, ctx, getDeviceID)
	later := k.next()
	cancel()
	if o := <-given; !errors.Is(o.err, context.Canceled) {
		t.Fatal(o.err)
	}
	d.last = math.MaxInt32 - 1 // so that the numbers come round
	for i := range byte(10) {
		call := asks(d, t.Context(), getDeviceID)
		s := k.next()
		if s.id == late.id || s.id == later.id || s.id <= 0 {
			t.Fatalf("number %d is given again", s.id)
		}
		if i == 5 {
			k.answers(late, 0, 0xBA, 0xD0)
			k.answers(later, 0, 0xBA, 0xD0)
			counts(t, d, "responses-late", 2)
		}
		k.answers(s, 0, i)
		if o := <-call; o.err != nil || !bytes.Equal(o.response.Data, []byte{i}) {
			t.Errorf("%+v", o)
		}
	}
	counts(t, d, "calls-timeout", 1)
	counts(t, d, "calls-cancelled", 1)
	if n, givenUp := left(d); n != 0 || givenUp != 0 {
		t.Errorf("%d calls, %d given up are left", n, givenUp)
	}
}

func TestAnswersToNoCall(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	s := k.next()
	for _, wrong := range []func(s *outgoing){
		func(s *outgoing) { s.id++ },
		func(s *outgoing) { s.id = -1 },
		func(s *outgoing) { s.command++ },
		func(s *outgoing) { s.netFn += 2 },
	} {
		other := s
		wrong(&other)
		k.answers(other, 0, 0xBA, 0xD0)
	}
	k.answers(s, 0, 1)
	k.answers(s, 0, 2) // twice
	if o := <-call; o.err != nil || !bytes.Equal(o.response.Data, []byte{1}) {
		t.Errorf("%+v", o)
	}
	counts(t, d, "responses-unexpected", 5)
}

func TestAnswerWithoutACode(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	k.answers(k.next())
	if o := <-call; o.err != nil || o.response.Code != ipmi.CodeUnspecified {
		t.Errorf("%+v", o)
	}
}

// TestLongMessages: messages that do not fit are neither lost nor cut off, nor are those behind
// them.
func TestLongMessages(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	from := node{kind: viaController, address: 0x82}
	for round, n := range []int{1, receiveRoom, receiveRoom + 1, 272, maxReceiveRoom, 2} {
		long := bytes.Repeat([]byte{byte(round)}, n)
		call := asks(d, t.Context(), getDeviceID)
		s := k.next()
		k.answers(s, long...)
		k.says(from.request(round, 0x30, 1, 0xAA))
		if o := <-call; o.err != nil || o.response.Code != ipmi.CompletionCode(round) || !bytes.Equal(o.response.Data, long[1:]) {
			t.Errorf("%d bytes: %d, %v", n, 1+len(o.response.Data), o.err)
		}
		if m := <-in; m.Sequence != uint8(round) || !bytes.Equal(m.Data, []byte{0xAA}) {
			t.Errorf("the request behind %d bytes: %+v", n, m)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, failure := range []error{unix.EINVAL, unix.EMSGSIZE, unix.EAGAIN, unix.EBUSY, unix.ENOMEM, unix.EAFNOSUPPORT} {
		t.Run(failure.Error(), func(t *testing.T) {
			d, k, _, _ := openDriver(t, 0, asIs)
			k.failure = failure
			if _, err := do(t, d, getDeviceID); !errors.Is(err, failure) {
				t.Errorf("ended with %v", err)
			}
			k.mu.Lock()
			k.failure = nil
			k.mu.Unlock()
			call := asks(d, t.Context(), getDeviceID)
			k.answers(k.next(), 0)
			if o := <-call; o.err != nil {
				t.Errorf("the next call: %v", o.err)
			}
			if n, givenUp := left(d); n != 0 || givenUp != 0 {
				t.Errorf("%d calls, %d given up are left", n, givenUp)
			}
		})
	}
}

// TestLongRequests: of a length that its field does not hold nothing is sent.
func TestLongRequests(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	for _, n := range []int{273, 0xFFFF, 0x10000, 0x10002} {
		long := getDeviceID
		long.Data = make([]byte, n)
		for _, long.Responder = range []ipmi.Address{0, 0x82} {
			if _, err := do(t, d, long); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("%d bytes to %v: %v", n, long.Responder, err)
			}
		}
	}
	if len(k.sent) > 0 {
		t.Errorf("sent %+v", <-k.sent)
	}
}

// TestInterfaceGone: the driver says so, and tells no reader.
func TestInterfaceGone(t *testing.T) {
	d, k, _, ended := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	k.next()
	k.mu.Lock()
	k.failure = unix.ENODEV
	k.mu.Unlock()
	if _, err := do(t, d, getDeviceID); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the call that is refused: %v", err)
	}
	if o := <-call; !errors.Is(o.err, os.ErrClosed) {
		t.Errorf("the call that waits: %v", o.err)
	}
	if err := <-ended; !errors.Is(err, unix.ENODEV) {
		t.Errorf("Receive: %v", err)
	}
	if _, err := do(t, d, getDeviceID); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a call later: %v", err)
	}
	counts(t, d, "calls-closed", 3)
}

func TestClose(t *testing.T) {
	d, k, _, ended := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	k.next()
	d.Close()
	if o := <-call; !errors.Is(o.err, os.ErrClosed) {
		t.Errorf("a call: %v", o.err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Receive: %v", err)
	}
	if err := d.Register(ipmi.Commands{NetFn: 0x30, Command: 1}, true); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Register: %v", err)
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open(t.TempDir()+"/ipmi0", 0, counters.New[counter](counterNames)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	k, file := newIPMIDriver(t)
	k.failure = unix.ENODEV
	if _, err := newDevice("/dev/ipmi0", 0, file, k.calls(), counters.New[counter](counterNames)); !errors.Is(err, unix.ENODEV) {
		t.Error(err)
	}
	if err := file.Control(func(int) error { return nil }); err != os.ErrClosed {
		t.Errorf("it is left open: %v", err)
	}
	// A kernel that knows no direct addresses.
	d, _, _, _ := openDriver(t, 0, func(k *ipmiDriver) { k.failure = unix.EINVAL })
	if d.Direct() || d.MaxData() != 262 {
		t.Errorf("direct %v, %d bytes", d.Direct(), d.MaxData())
	}
	if d, _, _, _ := openDriver(t, 0, isDirect); !d.Direct() || d.MaxData() != 26 {
		t.Errorf("direct %v, %d bytes", d.Direct(), d.MaxData())
	}
}

// TestRequestsThatComeIn are delivered and answered with the address and the number that they came
// with.
func TestRequestsThatComeIn(t *testing.T) {
	fromIPMB := node{kind: viaController, address: 0x82, lun: 1}
	direct := node{kind: direct, address: 0x82, lun: 3, requesterLUN: 1}
	for name, c := range map[string]struct {
		on   func(*ipmiDriver)
		from node
		lun  ipmi.LUN
	}{
		"IPMB":   {asIs, fromIPMB, 0},
		"direct": {isDirect, direct, 3},
	} {
		t.Run(name, func(t *testing.T) {
			d, k, in, _ := openDriver(t, 0, c.on)
			k.says(c.from.request(0x3F, 0x30, 0x55, 1, 2, 3))
			got := (<-in).Request
			want := ipmi.Request{Requester: 0x82, RequesterLUN: 1, Sequence: 0x3F, NetFn: 0x30, LUN: c.lun, Command: 0x55, Data: []byte{1, 2, 3}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if err := d.Respond(&got, []byte{0xC1, 0xCA}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(outgoing{id: 0x3F, to: c.from, netFn: 0x31, command: 0x55, data: []byte{0xC1, 0xCA}}, k.next(),
				cmp.AllowUnexported(node{}, outgoing{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessagesThatNobodyCanAnswer(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	good := node{kind: viaController, address: 0x82}
	otherChannel, otherKind, badLUN := good, good, good
	otherChannel.channel, otherKind.kind, badLUN.lun = 7, direct, 4
	system := node{kind: systemInterface, channel: 15}
	oem := system.request(0, 0x30, 1)
	oem.kind = 5
	lan := node{kind: 0x04}
	k.says(otherChannel.request(1, 0x30, 1), otherKind.request(1, 0x30, 1), system.request(1, 0x30, 1), lan.request(1, 0x30, 1), oem,
		received{kind: 99}, received{kind: kindRequest})
	k.says(badLUN.request(1, 0x30, 1), good.request(1, 0x31, 1), good.request(0x40, 0x30, 1), good.request(-1, 0x30, 1),
		good.request(1, 0x40, 1), good.request(1, 0x30, 1, make([]byte, 273)...))
	k.says(received{kind: kindResponseResponse, data: []byte{0x83}}, received{kind: kindResponseResponse},
		received{kind: kindResponseResponse, data: []byte{0}})
	k.says(received{kind: kindEvent, data: []byte{1, 2}})
	if m := <-in; !bytes.Equal(m.event, []byte{1, 2}) {
		t.Errorf("got %+v", m)
	}
	counts(t, d, "messages-unread", 7)
	counts(t, d, "messages-malformed", 6)
	counts(t, d, "answers-refused", 2)
}

func TestFlood(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	const n = 1000
	from := node{kind: viaController, address: 0x82}
	calls := make([]<-chan outcome, 20)
	for i := range calls {
		calls[i] = asks(d, t.Context(), getDeviceID)
	}
	for i := range n {
		k.says(from.request(i&0x3F, 0x30, ipmi.Command(i>>6), byte(i)))
		if i%50 == 0 {
			k.answers(k.next(), 0)
		}
	}
	for i := range n {
		if m := <-in; m.Sequence != uint8(i&0x3F) || !bytes.Equal(m.Data, []byte{byte(i)}) {
			t.Fatalf("request %d: %+v", i, m)
		}
	}
	for _, call := range calls {
		if o := <-call; o.err != nil {
			t.Error(o.err)
		}
	}
}

func TestCommandsAndAddress(t *testing.T) {
	d, k, _, _ := openDriver(t, 7, asIs)
	k.others["30 02 80"] = true
	if err := d.Register(ipmi.Commands{NetFn: 0x30, Command: 1}, true); err != nil || !k.commands["30 01 80"] {
		t.Errorf("%v, %v", err, k.commands)
	}
	if err := d.Register(ipmi.Commands{NetFn: 0x30, Command: 2}, true); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if err := d.Register(ipmi.Commands{NetFn: 0x30, Command: 1}, false); err != nil || len(k.commands) > 0 {
		t.Errorf("%v, %v", err, k.commands)
	}
	if a, err := d.Address(); a != 0x20 || err != nil {
		t.Errorf("%v, %v", a, err)
	}
	if err := d.SetAddress(0x84); err != nil || k.own != 0x84 {
		t.Errorf("%v, %v", k.own, err)
	}
	if err := d.SetEvents(true); err != nil {
		t.Error(err)
	}
}

// TestNodeGone: nothing tells a reader but the node.
func TestNodeGone(t *testing.T) {
	k, file := newIPMIDriver(t)
	d, err := newDevice("/dev/ipmi0", 0, file, k.calls(), counters.New[counter](counterNames))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.fail(io.EOF); err != io.EOF {
		t.Error(err)
	}
	if _, _, err := d.Receive(); err != io.EOF {
		t.Error(err)
	}
}

// TestRequestsKeepTheirOrder: they enter the driver in the order of Send, however many wait.
func TestRequestsKeepTheirOrder(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	const burst = 300 // more than the driver has room for
	var calls []<-chan outcome
	for i := range burst {
		r := getDeviceID
		r.Data = []byte{byte(i), byte(i >> 8)}
		calls = append(calls, asks(d, t.Context(), r))
		r.Data[0]++ // which is the client's again
	}
	ctx, cancel := context.WithCancel(t.Context())
	unwanted := asks(d, ctx, getDeviceID)
	cancel()
	if o := <-unwanted; !errors.Is(o.err, context.Canceled) {
		t.Errorf("the one that waits: %v", o.err)
	}
	for i := range burst {
		s := k.next()
		if want := []byte{byte(i), byte(i >> 8)}; !bytes.Equal(s.data, want) {
			t.Fatalf("% X at place %d", s.data, i)
		}
		if n, _ := left(d); n > maxCalls {
			t.Fatalf("%d requests in the driver", n)
		}
		k.answers(s, 0)
		if o := <-calls[i]; o.err != nil {
			t.Error(o.err)
		}
	}
	if len(k.sent) > 0 {
		t.Errorf("sent %+v, which nobody wants", <-k.sent)
	}
}

// TestNumbersOfGivenUpCalls: while the driver answers none of its calls, the calls that wait end
// with ErrBusy.
func TestNumbersOfGivenUpCalls(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	short := getDeviceID
	short.RetryPolicy = ipmb.RetryPolicy{Tries: 1, Timeout: 10 * time.Millisecond}
	var calls []<-chan outcome
	for range maxCalls {
		calls = append(calls, asks(d, t.Context(), short))
	}
	first, second := asks(d, t.Context(), short), asks(d, t.Context(), getDeviceID)
	for _, c := range calls {
		if o := <-c; !errors.Is(o.err, ipmb.ErrTimeout) {
			t.Error(o.err)
		}
	}
	if o := <-first; !errors.Is(o.err, ipmb.ErrBusy) {
		t.Errorf("the one that waits: %v", o.err)
	}
	k.answers(k.next(), 0) // late
	for range maxCalls - 1 {
		k.next()
	}
	k.answers(k.next(), 0)
	if o := <-second; o.err != nil {
		t.Errorf("the one that waits longer: %v", o.err)
	}
}
