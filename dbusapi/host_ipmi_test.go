package dbusapi

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// hostIPMIRig is a server with a host served in the way of btbridge.
type hostIPMIRig struct {
	*rig
	object *HostObject
	served *HostIPMI
	sms    *fakeSMS
}

func newHostIPMIRig(t *testing.T) *hostIPMIRig {
	t.Helper()
	return newRig(t, Config{}).hostIPMI(t)
}

func (of *rig) hostIPMI(t *testing.T) *hostIPMIRig {
	t.Helper()
	r := &hostIPMIRig{rig: of, sms: &fakeSMS{}}
	o, err := r.server.NewHost(t.Context(), "ipmi_bt_host")
	if err != nil {
		t.Fatal(err)
	}
	r.object = o
	if r.served, err = r.server.AddHostIPMI(t.Context(), o, r.sms); err != nil {
		t.Fatal(err)
	}
	if err := o.Export(&fakeInterface{}, r.sms); err != nil {
		t.Fatal(err)
	}
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// hostClient is a program that hears the requests.
type hostClient struct {
	*dbuswire.Conn
	heard chan *dbus.Signal
}

func (r *hostIPMIRig) newClient(t *testing.T) *hostClient {
	t.Helper()
	c := &hostClient{heard: make(chan *dbus.Signal, 100)}
	c.Conn = dial(t, r.bus, dbuswire.Config{Signal: func(s *dbus.Signal) {
		if s.Name == "org.openbmc.HostIpmi.ReceivedMessage" {
			c.heard <- s
		}
	}})
	rule := "type='signal',sender='org.openbmc.HostIpmi',path='/org/openbmc/HostIpmi/1',interface='org.openbmc.HostIpmi',member='ReceivedMessage'"
	if err := c.AddMatch(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	return c
}

// method calls a method and returns its one result.
func (c *hostClient) method(t *testing.T, member string, args ...any) int64 {
	t.Helper()
	got, err := c.Call(t.Context(), dbuswire.Method{Destination: "org.openbmc.HostIpmi", Path: "/org/openbmc/HostIpmi/1", Interface: "org.openbmc.HostIpmi", Member: member}, args...)
	if err != nil || len(got) != 1 {
		t.Fatalf("%s: %v, %v", member, got, err)
	}
	return got[0].(int64)
}

// asks has a request served.
func (r *hostIPMIRig) asks(ctx context.Context, req *ipmi.Request) <-chan served {
	return serve(ctx, r.served, req)
}

func TestHostIPMIIsServedAsBtbridgeDoes(t *testing.T) {
	r := newHostIPMIRig(t)
	client := r.newClient(t)
	done := r.asks(t.Context(), fromHost(0x22, 1, 2, 3))
	heard := <-client.heard
	seq := heard.Body[0].(byte)
	if diff := cmp.Diff([]any{seq, byte(6), byte(1), byte(0x22), []byte{1, 2, 3}}, heard.Body); diff != "" || heard.Sender != r.served.own.conn.Name() {
		t.Errorf("from %s: %s", heard.Sender, diff)
	}
	enoent, einval := -int64(syscall.ENOENT), -int64(syscall.EINVAL)
	if got := client.method(t, "sendMessage", seq+1, byte(7), byte(1), byte(0x22), byte(0), []byte{}); got != enoent {
		t.Errorf("unknown number: %d", got)
	}
	if got := client.method(t, "sendMessage", seq, byte(7), byte(1), byte(0x23), byte(0), []byte{}); got != einval {
		t.Errorf("another command: %d", got)
	}
	if got := client.method(t, "sendMessage", seq, byte(7), byte(1), byte(0x22), byte(0xC9), []byte{9}); got != 0 {
		t.Errorf("the answer: %d", got)
	}
	if got := <-done; got.err != nil || !cmp.Equal(got.res, ipmi.Response{Code: 0xC9, Data: []byte{9}}) {
		t.Errorf("the host's answer: %v", got)
	}
	if got := client.method(t, "sendMessage", seq, byte(7), byte(1), byte(0x22), byte(0), []byte{}); got != enoent {
		t.Errorf("a second answer: %d", got)
	}
	_, err := client.Call(t.Context(), dbuswire.Method{Destination: "org.openbmc.HostIpmi", Path: "/org/openbmc/HostIpmi/1", Interface: "org.openbmc.HostIpmi", Member: "sendMessage"}, seq)
	if errorName(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Errorf("one argument: %v", err)
	}
}

func TestHostIPMILateAnswerAnswersNothing(t *testing.T) {
	r := newHostIPMIRig(t)
	client := r.newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	first := <-r.asks(ctx, fromHost(1))
	if !errors.Is(first.err, ipmi.ErrTooSlow) {
		t.Errorf("without an answer: %v", first.err)
	}
	late := (<-client.heard).Body[0].(byte)
	next := r.asks(t.Context(), fromHost(1))
	seq := (<-client.heard).Body[0].(byte)
	if got := client.method(t, "sendMessage", late, byte(7), byte(1), byte(1), byte(0), []byte{1}); got != -int64(syscall.ENOENT) {
		t.Errorf("late: %d", got)
	}
	if got := client.method(t, "sendMessage", seq, byte(7), byte(1), byte(1), byte(0), []byte{2}); got != 0 {
		t.Errorf("in time: %d", got)
	}
	if got := <-next; got.err != nil || !cmp.Equal(got.res.Data, []byte{2}) {
		t.Errorf("the next one's answer: %v", got)
	}
}

func TestHostIPMISetAttention(t *testing.T) {
	r := newHostIPMIRig(t)
	client := r.newClient(t)
	for _, want := range []struct {
		err    error
		result int64
	}{{nil, 0}, {ipmi.ErrNotPresent, -int64(syscall.ENODEV)}, {errors.New("it broke"), -int64(syscall.EIO)}} {
		r.sms.err = want.err
		if got := client.method(t, "setAttention"); got != want.result {
			t.Errorf("%v: %d", want.err, got)
		}
	}
	if diff := cmp.Diff([]string{"set", "set", "set"}, r.sms.done); diff != "" {
		t.Error(diff)
	}
	if results, err := errnoResult(ErrLimit); err != nil || results[0] != -int64(syscall.EBUSY) {
		t.Errorf("too many calls: %v, %v", results, err)
	}
}

func TestHostIPMISecretsAreNotForEverybody(t *testing.T) {
	r := newHostIPMIRig(t)
	bystander := r.newClient(t)
	setPassword := func() *ipmi.Request { return fromHost(0x47, 2, 2, 's', 'e', 'c') }
	if got := <-r.asks(t.Context(), setPassword()); ipmi.CodeOf(got.err) != ipmi.CodeInsufficientPrivilege {
		t.Errorf("nobody answers: %v", got)
	}

	answers := func(c *hostClient, req *ipmi.Request) {
		t.Helper()
		done := r.asks(t.Context(), req)
		heard := <-c.heard
		if got := c.method(t, "sendMessage", heard.Body[0], byte(7), byte(1), heard.Body[3], byte(0), []byte{}); got != 0 {
			t.Errorf("sendMessage = %d", got)
		}
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
	}
	daemon := r.newClient(t)
	if _, err := daemon.RequestName(xml.HostDaemonName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	answers(daemon, setPassword()) // by its name

	other := r.newClient(t)
	answers(other, fromHost(1))
	answers(other, setPassword()) // as the last that answered
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		// The message bus may not have noticed yet.
		if _, err := r.client.CallBus(t.Context(), "GetNameOwner", other.Name()); err != nil {
			break
		}
	}
	<-daemon.heard                 // the answer of the other one
	answers(daemon, setPassword()) // by its name, now that the other has left

	answers(daemon, fromHost(2))
	for _, want := range []byte{1, 2} {
		if heard := <-bystander.heard; heard.Body[3] != want {
			t.Errorf("a bystander hears %v", heard.Body)
		}
	}
}

// Requests are shown in their order, though the receiver of some is to be found first.
func TestHostIPMIShowsRequestsInOrder(t *testing.T) {
	r := newHostIPMIRig(t)
	client := r.newClient(t)
	if _, err := client.RequestName(xml.HostDaemonName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	const requests = 200
	for i := range byte(requests) {
		req := fromHost(1, i)
		if i%3 == 0 {
			req = fromHost(0x47, 2, 2, i)
		}
		request(r.served, req)
	}
	for i := range byte(requests) {
		data := (<-client.heard).Body[4].([]byte)
		if data[len(data)-1] != i {
			t.Fatalf("request %d is shown as number %d", data[len(data)-1], i)
		}
	}
}

func TestHostIPMIRequestsEndWithTheMessageBus(t *testing.T) {
	r := newStoppedRig(t, Config{}).hostIPMI(t)
	var ended []byte
	var done sync.WaitGroup
	for i := range byte(5) {
		done.Add(1)
		r.served.ServeIPMI(fromHost(1, i), ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool {
			if !errors.Is(err, ipmi.ErrAbandoned) {
				t.Errorf("request %d: %v", i, err)
			}
			ended = append(ended, i)
			done.Done()
			return true
		}))
	}
	_ = r.served.own.conn.Close()
	done.Wait()
	if diff := cmp.Diff([]byte{0, 1, 2, 3, 4}, ended); diff != "" {
		t.Error(diff)
	}
	if got := <-r.asks(t.Context(), fromHost(1)); !errors.Is(got.err, ipmi.ErrAbandoned) {
		t.Errorf("afterwards: %v", got.err)
	}
}

func TestHostIPMIIsOneHosts(t *testing.T) {
	r := newHostIPMIRig(t)
	o, err := r.server.NewHost(t.Context(), "another")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.AddHostIPMI(t.Context(), o, r.sms); err == nil {
		t.Error("two hosts have it")
	}
	o.Close(t.Context())
	r.object.Close(t.Context())
	if got := <-r.asks(t.Context(), fromHost(1)); !errors.Is(got.err, ipmi.ErrAbandoned) {
		t.Errorf("a request of one that is removed: %v", got)
	}
	r.object, err = r.server.NewHost(t.Context(), "ipmi_bt_host")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.AddHostIPMI(t.Context(), r.object, r.sms); err != nil {
		t.Error(err)
	}
}

func TestHostIPMINameThatIsTaken(t *testing.T) {
	r := newRig(t, Config{})
	if _, err := r.client.RequestName(hostIPMIName, dbus.NameFlagAllowReplacement); err != nil {
		t.Fatal(err)
	}
	o, err := r.server.NewHost(t.Context(), "ipmi_bt_host")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.AddHostIPMI(t.Context(), o, &fakeSMS{}); err != nil {
		t.Fatal(err)
	}
	if err := r.server.TakeNames(t.Context()); !errors.Is(err, ErrNameTaken) {
		t.Errorf("TakeNames = %v", err)
	}
}
