package host

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

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// ipmiDriver is ipmi_devintf.c with what is below it. Its device is one end of a
// socket pair; while a message waits there is something to read in it.
type ipmiDriver struct {
	t    *testing.T
	wake int

	mu       sync.Mutex
	queue    []openIPMIReceived
	failure  error // of each send from now on
	direct   bool
	own      ipmi.Address
	commands map[string]bool
	others   map[string]bool // commands of another program
	sent     chan ipmiSent
}

// ipmiSent is a message that was sent.
type ipmiSent struct {
	ID        int
	To        openIPMIAddress
	NetFn     ipmi.NetFn
	Command   ipmi.Command
	Data      []byte
	Retries   int32
	RetryTime uint32
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
	return &ipmiDriver{t: t, wake: fds[1], own: 0x20, commands: map[string]bool{}, others: map[string]bool{}, sent: make(chan ipmiSent, 1000)}, file
}

func (k *ipmiDriver) calls() openIPMICalls {
	return openIPMICalls{
		send: k.send, receive: k.receive,
		register: k.register, unregister: k.unregister,
		getsEvents: func(int, bool) error { return nil },
		setAddress: func(_ int, _ ipmi.Channel, a ipmi.Address) error { k.own = a; return nil },
		getAddress: func(int, ipmi.Channel) (ipmi.Address, error) { return k.own, nil },
	}
}

func (k *ipmiDriver) send(_, id int, to openIPMIAddress, netFn ipmi.NetFn, command ipmi.Command, data []byte, retries int32, retryTime uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.failure != nil:
		return k.failure
	case to.kind == openIPMIDirect && !k.direct:
		return unix.EAFNOSUPPORT
	case len(data)+4 > openIPMIMaxMessage:
		return unix.EMSGSIZE
	}
	k.sent <- ipmiSent{id, to, netFn, command, bytes.Clone(data), retries, retryTime}
	return nil
}

func (k *ipmiDriver) receive(fd int, address, data []byte) (openIPMIReceived, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		unix.Read(fd, make([]byte, 8))
		return openIPMIReceived{}, unix.EAGAIN
	}
	in := k.queue[0]
	if len(data) < len(in.data) {
		return openIPMIReceived{}, unix.EMSGSIZE
	}
	k.queue = k.queue[1:]
	in.address, in.data = address[:copy(address, in.address)], data[:copy(data, in.data)]
	return in, nil
}

func (k *ipmiDriver) register(_ int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error {
	key := fmt.Sprintf("%02X %02X %X", uint8(netFn), uint8(command), uint32(channels))
	if k.others[key] {
		return unix.EBUSY
	}
	k.commands[key] = true
	return nil
}

func (k *ipmiDriver) unregister(_ int, netFn ipmi.NetFn, command ipmi.Command, channels ipmi.ChannelMask) error {
	delete(k.commands, fmt.Sprintf("%02X %02X %X", uint8(netFn), uint8(command), uint32(channels)))
	return nil
}

// says puts messages into the driver's queue.
func (k *ipmiDriver) says(messages ...openIPMIReceived) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		unix.Write(k.wake, []byte{0})
	}
	k.queue = append(k.queue, messages...)
}

// answers answers a request with a completion code and data.
func (k *ipmiDriver) answers(s ipmiSent, answer ...byte) {
	address := s.To.bytes()
	k.says(openIPMIReceived{kind: openIPMIResponse, id: s.ID, netFn: s.NetFn.Response(), command: s.Command, address: address[:], data: answer})
}

// request is a request from IPMB that has come in.
func (a openIPMIAddress) request(seq int, netFn ipmi.NetFn, command ipmi.Command, data ...byte) openIPMIReceived {
	address := a.bytes()
	return openIPMIReceived{kind: openIPMIRequest, id: seq, netFn: netFn, command: command, address: address[:], data: data}
}

// next is the next message that was sent.
func (k *ipmiDriver) next() ipmiSent {
	k.t.Helper()
	select {
	case s := <-k.sent:
		return s
	case <-time.After(patience):
		k.t.Fatal("nothing was sent")
		panic("unreachable")
	}
}

// openDriver is a device on a driver, and what comes in at it. The device ends with
// the test.
func openDriver(t *testing.T, channel ipmi.Channel, change func(k *ipmiDriver)) (*OpenIPMI, *ipmiDriver, <-chan OpenIPMIMessage, <-chan error) {
	t.Helper()
	k, file := newIPMIDriver(t)
	change(k)
	d, err := newOpenIPMI("/dev/ipmi0", channel, file, k.calls())
	if err != nil {
		t.Fatal(err)
	}
	in, ended := make(chan OpenIPMIMessage, 1000), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			m, err := d.Receive()
			if err != nil {
				ended <- err
				return
			}
			m.Data = bytes.Clone(m.Data)
			in <- m
		}
	})
	t.Cleanup(func() { d.Close(); reading.Wait() })
	return d, k, in, ended
}

func asIs(*ipmiDriver) {}

func isDirect(k *ipmiDriver) { k.direct = true }

// getDeviceID is a request that has long to be answered.
var getDeviceID = OpenIPMIRequest{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID, Tries: 2, Timeout: patience}

type outcome struct {
	response ipmi.Response
	err      error
}

// asks makes a call.
func asks(d *OpenIPMI, ctx context.Context, r OpenIPMIRequest) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		response, err := d.Do(ctx, r, nil)
		done <- outcome{response, err}
	}()
	return done
}

func counts(t *testing.T, d *OpenIPMI, name string, want uint64) {
	t.Helper()
	for end := time.Now().Add(patience); d.Counters()[name] != want; {
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", name, d.Counters()[name], want)
		}
	}
}

func TestOpenIPMIAddressesOfRequests(t *testing.T) {
	request := func(change func(*OpenIPMIRequest)) OpenIPMIRequest {
		r := getDeviceID
		r.Data = []byte{1, 2}
		change(&r)
		return r
	}
	system := openIPMIAddress{kind: openIPMISystemInterface, channel: 15}
	for name, c := range map[string]struct {
		on      func(*ipmiDriver)
		channel ipmi.Channel
		request OpenIPMIRequest
		want    openIPMIAddress
		err     error
	}{
		"the controller":             {asIs, 0, request(func(r *OpenIPMIRequest) { r.LUN = 0 }), system, nil},
		"a LUN of the controller":    {asIs, 7, request(func(r *OpenIPMIRequest) { r.LUN = 3 }), openIPMIAddress{kind: openIPMISystemInterface, channel: 15, lun: 3}, nil},
		"IPMB":                       {asIs, 0, request(func(r *OpenIPMIRequest) { r.Responder, r.LUN = 0x82, 1 }), openIPMIAddress{kind: openIPMIIPMB, address: 0x82, lun: 1}, nil},
		"another channel":            {asIs, 7, request(func(r *OpenIPMIRequest) { r.Responder = 0x82 }), openIPMIAddress{kind: openIPMIIPMB, channel: 7, address: 0x82}, nil},
		"a broadcast":                {asIs, 0, request(func(r *OpenIPMIRequest) { r.Responder, r.Broadcast = 0x82, true }), openIPMIAddress{kind: openIPMIBroadcast, address: 0x82}, nil},
		"direct":                     {isDirect, 0, request(func(r *OpenIPMIRequest) { r.Responder, r.LUN, r.RequesterLUN = 0x82, 1, 2 }), openIPMIAddress{kind: openIPMIDirect, address: 0x82, lun: 1, requesterLUN: 2}, nil},
		"another channel is not":     {isDirect, 7, request(func(r *OpenIPMIRequest) { r.Responder = 0x82 }), openIPMIAddress{kind: openIPMIIPMB, channel: 7, address: 0x82}, nil},
		"a LUN of ours":              {asIs, 0, request(func(r *OpenIPMIRequest) { r.Responder, r.RequesterLUN = 0x82, 2 }), openIPMIAddress{}, ErrUnsupported},
		"a LUN to the controller":    {isDirect, 0, request(func(r *OpenIPMIRequest) { r.RequesterLUN = 2 }), openIPMIAddress{}, ErrUnsupported},
		"a direct broadcast":         {isDirect, 0, request(func(r *OpenIPMIRequest) { r.Responder, r.Broadcast = 0x82, true }), openIPMIAddress{}, ErrUnsupported},
		"what the driver keeps":      {asIs, 0, request(func(r *OpenIPMIRequest) { r.Command = 0x34 }), openIPMIAddress{}, ErrUnsupported},
		"what it lets pass on a bus": {asIs, 0, request(func(r *OpenIPMIRequest) { r.Command, r.Responder = 0x34, 0x82 }), openIPMIAddress{kind: openIPMIIPMB, address: 0x82}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, k, _, _ := openDriver(t, c.channel, c.on)
			done := asks(d, t.Context(), c.request)
			if c.err == nil {
				s := k.next()
				if s.To != c.want || s.NetFn != c.request.NetFn || s.Command != c.request.Command || !bytes.Equal(s.Data, []byte{1, 2}) {
					t.Errorf("sent %+v", s)
				}
				if s.Retries != 1 || time.Duration(s.RetryTime)*time.Millisecond != patience {
					t.Errorf("%d retries after %d ms", s.Retries, s.RetryTime)
				}
				k.answers(s, 0)
			}
			if o := <-done; !errors.Is(o.err, c.err) {
				t.Errorf("ended with %v", o.err)
			}
		})
	}
}

func TestOpenIPMIAnswersInAnyOrder(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	const n = maxOpenIPMICalls
	calls := map[byte]<-chan outcome{}
	for i := range byte(n) {
		r := getDeviceID
		r.Data = []byte{i}
		calls[i] = asks(d, t.Context(), r)
	}
	var sent []ipmiSent
	ids := map[int]bool{}
	for range n {
		s := k.next()
		sent, ids[s.ID] = append(sent, s), true
	}
	if len(ids) != n {
		t.Fatalf("%d numbers for %d calls", len(ids), n)
	}
	noWait := getDeviceID
	noWait.NoWait = true
	if _, err := d.Do(t.Context(), noWait, nil); !errors.Is(err, ipmi.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	one := asks(d, t.Context(), getDeviceID) // waits
	slices.Reverse(sent)
	for _, s := range sent {
		k.answers(s, append([]byte{0xC0}, s.Data...)...)
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

// TestOpenIPMILateAnswer: it reaches nobody, and until it comes no other call has
// its number.
func TestOpenIPMILateAnswer(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	short := getDeviceID
	short.Tries, short.Timeout = 1, time.Millisecond
	if _, err := d.Do(t.Context(), short, nil); !errors.Is(err, ErrSilent) {
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
		if s.ID == late.ID || s.ID == later.ID || s.ID <= 0 {
			t.Fatalf("number %d is given again", s.ID)
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
	if len(d.calls) != 0 || len(d.slots) != 0 {
		t.Errorf("%d calls, %d places are left", len(d.calls), len(d.slots))
	}
}

func TestOpenIPMIAnswersToNoCall(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	s := k.next()
	for _, wrong := range []func(s *ipmiSent){
		func(s *ipmiSent) { s.ID++ },
		func(s *ipmiSent) { s.ID = -1 },
		func(s *ipmiSent) { s.Command++ },
		func(s *ipmiSent) { s.NetFn += 2 },
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

func TestOpenIPMIAnswerWithoutACode(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	k.answers(k.next())
	if o := <-call; o.err != nil || o.response.Code != ipmi.CodeUnspecified {
		t.Errorf("%+v", o)
	}
}

// TestOpenIPMILongMessages: those that do not fit are neither lost nor cut off, nor
// those behind them.
func TestOpenIPMILongMessages(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	from := openIPMIAddress{kind: openIPMIIPMB, address: 0x82}
	for round, n := range []int{1, openIPMIRoom, openIPMIRoom + 1, 272, openIPMIMaxRoom, 2} {
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

func TestOpenIPMIRefusals(t *testing.T) {
	for _, failure := range []error{unix.EINVAL, unix.EMSGSIZE, unix.EAGAIN, unix.EBUSY, unix.ENOMEM, unix.EAFNOSUPPORT} {
		t.Run(failure.Error(), func(t *testing.T) {
			d, k, _, _ := openDriver(t, 0, asIs)
			k.failure = failure
			if _, err := d.Do(t.Context(), getDeviceID, nil); !errors.Is(err, failure) {
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
			if len(d.calls) != 0 || len(d.slots) != 0 {
				t.Errorf("%d calls, %d places are left", len(d.calls), len(d.slots))
			}
		})
	}
}

// TestOpenIPMILongRequests: of a length that its field does not hold nothing is sent.
func TestOpenIPMILongRequests(t *testing.T) {
	d, k, _, _ := openDriver(t, 0, asIs)
	for _, n := range []int{273, 0xFFFF, 0x10000, 0x10002} {
		long := getDeviceID
		long.Data = make([]byte, n)
		for _, long.Responder = range []ipmi.Address{0, 0x82} {
			if _, err := d.Do(t.Context(), long, nil); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("%d bytes to %v: %v", n, long.Responder, err)
			}
		}
	}
	if len(k.sent) > 0 {
		t.Errorf("sent %+v", <-k.sent)
	}
}

// TestOpenIPMIInterfaceGone: the driver says so, and tells no reader.
func TestOpenIPMIInterfaceGone(t *testing.T) {
	d, k, _, ended := openDriver(t, 0, asIs)
	call := asks(d, t.Context(), getDeviceID)
	k.next()
	k.mu.Lock()
	k.failure = unix.ENODEV
	k.mu.Unlock()
	if _, err := d.Do(t.Context(), getDeviceID, nil); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the call that is refused: %v", err)
	}
	if o := <-call; !errors.Is(o.err, os.ErrClosed) {
		t.Errorf("the call that waits: %v", o.err)
	}
	if err := <-ended; !errors.Is(err, unix.ENODEV) {
		t.Errorf("Receive: %v", err)
	}
	if _, err := d.Do(t.Context(), getDeviceID, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a call later: %v", err)
	}
	counts(t, d, "calls-closed", 3)
}

func TestOpenIPMIClose(t *testing.T) {
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
	if err := d.Register(0x30, 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Register: %v", err)
	}
}

func TestOpenIPMIOpen(t *testing.T) {
	if _, err := OpenOpenIPMI(t.TempDir()+"/ipmi0", 0); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	k, file := newIPMIDriver(t)
	k.failure = unix.ENODEV
	if _, err := newOpenIPMI("/dev/ipmi0", 0, file, k.calls()); !errors.Is(err, unix.ENODEV) {
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

// TestOpenIPMIRequestsThatComeIn are given and answered with the address and the
// number that they came with.
func TestOpenIPMIRequestsThatComeIn(t *testing.T) {
	ipmb := openIPMIAddress{kind: openIPMIIPMB, address: 0x82, lun: 1}
	direct := openIPMIAddress{kind: openIPMIDirect, address: 0x82, lun: 3, requesterLUN: 1}
	for name, c := range map[string]struct {
		on   func(*ipmiDriver)
		from openIPMIAddress
		lun  ipmi.LUN
	}{
		"IPMB":   {asIs, ipmb, 0},
		"direct": {isDirect, direct, 3},
	} {
		t.Run(name, func(t *testing.T) {
			d, k, in, _ := openDriver(t, 0, c.on)
			k.says(c.from.request(0x3F, 0x30, 0x55, 1, 2, 3))
			got := <-in
			want := OpenIPMIMessage{Requester: 0x82, RequesterLUN: 1, Sequence: 0x3F, NetFn: 0x30, LUN: c.lun, Command: 0x55, Data: []byte{1, 2, 3}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			got.Data = []byte{0xCA}
			if err := d.Respond(got, 0xC1); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ipmiSent{ID: 0x3F, To: c.from, NetFn: 0x31, Command: 0x55, Data: []byte{0xC1, 0xCA}}, k.next(),
				cmp.AllowUnexported(openIPMIAddress{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenIPMIMessagesThatNobodyCanAnswer(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	good := openIPMIAddress{kind: openIPMIIPMB, address: 0x82}
	otherChannel, otherKind, badLUN := good, good, good
	otherChannel.channel, otherKind.kind, badLUN.lun = 7, openIPMIDirect, 4
	system := openIPMIAddress{kind: openIPMISystemInterface, channel: 15}
	oem := system.request(0, 0x30, 1)
	oem.kind = 5
	lan := openIPMIAddress{kind: 0x04}
	k.says(otherChannel.request(1, 0x30, 1), otherKind.request(1, 0x30, 1), system.request(1, 0x30, 1), lan.request(1, 0x30, 1), oem,
		openIPMIReceived{kind: 99}, openIPMIReceived{kind: openIPMIRequest})
	k.says(badLUN.request(1, 0x30, 1), good.request(1, 0x31, 1), good.request(0x40, 0x30, 1), good.request(-1, 0x30, 1),
		good.request(1, 0x40, 1), good.request(1, 0x30, 1, make([]byte, 273)...))
	k.says(openIPMIReceived{kind: openIPMIResponseResponse, data: []byte{0x83}}, openIPMIReceived{kind: openIPMIResponseResponse},
		openIPMIReceived{kind: openIPMIResponseResponse, data: []byte{0}})
	k.says(openIPMIReceived{kind: openIPMIEvent, data: []byte{1, 2}})
	if m := <-in; !m.Event || !bytes.Equal(m.Data, []byte{1, 2}) {
		t.Errorf("got %+v", m)
	}
	counts(t, d, "messages-unread", 7)
	counts(t, d, "messages-malformed", 6)
	counts(t, d, "answers-refused", 2)
}

func TestOpenIPMIFlood(t *testing.T) {
	d, k, in, _ := openDriver(t, 0, asIs)
	const n = 1000
	from := openIPMIAddress{kind: openIPMIIPMB, address: 0x82}
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

func TestOpenIPMICommandsAndAddress(t *testing.T) {
	d, k, _, _ := openDriver(t, 7, asIs)
	k.others["30 02 80"] = true
	if err := d.Register(0x30, 1); err != nil || !k.commands["30 01 80"] {
		t.Errorf("%v, %v", err, k.commands)
	}
	if err := d.Register(0x30, 2); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if err := d.Unregister(0x30, 1); err != nil || len(k.commands) > 0 {
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

// TestOpenIPMINodeGone: nothing tells a reader but the node.
func TestOpenIPMINodeGone(t *testing.T) {
	k, file := newIPMIDriver(t)
	d, err := newOpenIPMI("/dev/ipmi0", 0, file, k.calls())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.end(io.EOF); err != io.EOF {
		t.Error(err)
	}
	if _, err := d.Receive(); err != io.EOF {
		t.Error(err)
	}
}
