package dbusapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// fakeHost is a host IPMI daemon, or another program that answers requests: it
// serves execute as the test says.
type fakeHost struct {
	bustest.Silence // of an object with one method
	conn            *dbuswire.Conn
	path            dbus.ObjectPath // of that object; empty: any

	mu    sync.Mutex
	calls [][]any
	reply func(args []any) ([]any, error)
	began chan struct{}
}

func (h *fakeHost) LookupObject(path dbus.ObjectPath) (dbus.ServerObject, bool) {
	return h, h.path == "" || path == h.path
}
func (h *fakeHost) LookupInterface(name string) (dbus.Interface, bool) {
	return h, name == xml.ExecuteInterface
}
func (h *fakeHost) LookupMethod(name string) (dbus.Method, bool) { return h, name == xml.ExecuteMember }

func (h *fakeHost) DecodeArguments(_ *dbus.Conn, sender string, _ *dbus.Message, args []any) ([]any, error) {
	return append([]any{sender}, args...), nil
}

func (h *fakeHost) Call(args ...any) ([]any, error) {
	h.mu.Lock()
	h.calls = append(h.calls, args)
	reply := h.reply
	h.mu.Unlock()
	h.began <- struct{}{}
	return reply(args[1:])
}

// answer makes calls from now on be answered so.
func (h *fakeHost) answer(reply func([]any) ([]any, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reply = reply
}

// hostResult is the result of phosphor-host-ipmid's execute.
type hostResult struct {
	NetFn, LUN, Command, Code byte
	Data                      []byte
}

func answerOK(args []any) ([]any, error) {
	return []any{hostResult{args[0].(byte) | 1, args[1].(byte), args[2].(byte), 0, args[3].([]byte)}}, nil
}

func startHost(t *testing.T, bus *bustest.Bus, reply func([]any) ([]any, error)) *fakeHost {
	t.Helper()
	h := &fakeHost{Silence: bustest.NewSilence(t), reply: reply, began: make(chan struct{}, 1000), path: xml.HostDaemonPath}
	h.conn = dial(t, bus, dbuswire.Config{Objects: h})
	if got, err := h.conn.RequestName(xml.HostDaemonName, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", got, err)
	}
	return h
}

// newHostDaemon is the host daemon to a connection.
func newHostDaemon(conn *dbuswire.Conn) *HostDaemon {
	return &HostDaemon{conn: conn, to: &hostDaemon, counts: testCounters()}
}

// fromME is a request of the Management Engine of host 3.
func fromME(data ...byte) *ipmi.Request {
	return &ipmi.Request{Interface: "bus4", Host: 3, Requester: 0x2C, NetFn: 6, LUN: 2, Command: 1, Data: data}
}

func TestHostDaemonGetsTheRequestAsPhosphorHostIpmidHasIt(t *testing.T) {
	bus := bustest.Start(t)
	host := startHost(t, bus, answerOK)
	conn := dial(t, bus, dbuswire.Config{})
	res, err := answerOf(t.Context(), newHostDaemon(conn), fromME(1, 2, 3))
	if diff := cmp.Diff(ipmi.Response{Data: []byte{1, 2, 3}}, res); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	want := []any{conn.Name(), byte(6), byte(2), byte(1), []byte{1, 2, 3}, map[string]dbus.Variant{
		"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(int32(3)),
	}}
	if diff := cmp.Diff(want, host.calls[0], cmp.Comparer(sameVariant)); diff != "" {
		t.Error(diff)
	}
}

func TestHostDaemonsCompletionCodeIsAResult(t *testing.T) {
	bus := bustest.Start(t)
	startHost(t, bus, func([]any) ([]any, error) { return []any{hostResult{7, 0, 1, 0xD4, nil}}, nil })
	res, err := answerOf(t.Context(), newHostDaemon(dial(t, bus, dbuswire.Config{})), fromME())
	if err != nil || res.Code != ipmi.CodeInsufficientPrivilege || len(res.Data) != 0 {
		t.Errorf("%v, %v", res, err)
	}
}

func TestHostDaemonRepliesThatDoNotFit(t *testing.T) {
	bus := bustest.Start(t)
	host := startHost(t, bus, nil)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	for name, reply := range map[string][]any{
		"nothing":      {},
		"not a struct": {byte(7), byte(0), byte(1), byte(0), []byte{}},
		"short struct": {struct{ A, B byte }{7, 0}},
		"wide completion": {struct {
			A, B, C byte
			D       uint32
			E       []byte
		}{7, 0, 1, 0, nil}},
		"data is a string": {struct {
			A, B, C, D byte
			E          string
		}{7, 0, 1, 0, ""}},
		"even netFn":  {hostResult{6, 0, 1, 0, nil}},
		"other netFn": {hostResult{9, 0, 1, 0, nil}},
		"other cmd":   {hostResult{7, 0, 2, 0, nil}},
	} {
		host.answer(func([]any) ([]any, error) { return reply, nil })
		if _, err := answerOf(t.Context(), h, fromME()); ipmi.CodeOf(err) != ipmi.CodeUnspecified {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostDaemonErrors(t *testing.T) {
	bus := bustest.Start(t)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, ipmi.ErrNotPresent) {
		t.Errorf("absent: %v", err)
	}
	host := startHost(t, bus, nil)
	for name, want := range map[string]error{
		"org.freedesktop.DBus.Error.AccessDenied":   nil,
		"org.freedesktop.DBus.Error.UnknownObject":  nil,
		"org.freedesktop.DBus.Error.ServiceUnknown": ipmi.ErrNotPresent,
		"org.freedesktop.DBus.Error.NameHasNoOwner": ipmi.ErrNotPresent,
		"org.freedesktop.DBus.Error.NoReply":        ipmi.ErrAbandoned,
		"org.freedesktop.DBus.Error.Disconnected":   ipmi.ErrAbandoned,
		"org.freedesktop.DBus.Error.LimitsExceeded": ipmi.ErrBusy,
	} {
		host.answer(func([]any) ([]any, error) { return nil, dbus.NewError(name, []any{"as told"}) })
		if _, err := answerOf(t.Context(), h, fromME()); ipmi.CodeOf(err) != ipmi.CodeUnspecified {
			t.Errorf("%s of the host daemon: %v", name, err)
		}
		_, _, _, err := parseExecuted(&dbuswire.Message{Type: dbuswire.TypeError, ErrorName: []byte(name), Sender: []byte(dbuswire.BusName)})
		if want != nil && !errors.Is(err, want) || want == nil && ipmi.CodeOf(err) != ipmi.CodeUnspecified {
			t.Errorf("%s of the message bus: %v", name, err)
		}
	}
}

func TestHostDaemonsOwnErrorIsNamed(t *testing.T) {
	bus := bustest.Start(t)
	startHost(t, bus, func([]any) ([]any, error) { return nil, dbus.NewError("a.b.C", []any{"as told"}) })
	_, err := answerOf(t.Context(), newHostDaemon(dial(t, bus, dbuswire.Config{})), fromME())
	if err == nil || err.Error() != "host daemon: a.b.C: as told" {
		t.Errorf("error = %v", err)
	}
}

func TestHostDaemonAnswerOfManyBytes(t *testing.T) {
	bus := bustest.Start(t)
	host := startHost(t, bus, answerOK)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	data := bytes.Repeat([]byte{0xEE}, 8<<10)
	if res, err := answerOf(t.Context(), h, fromME(data...)); err != nil || !bytes.Equal(res.Data, data) {
		t.Errorf("%d bytes, %v", len(res.Data), err)
	}
	// Another reply is no answer to anything, and disturbs no request.
	host.answer(func([]any) ([]any, error) { return []any{hostResult{7, 0, 1, 0, make([]byte, 16<<10)}}, nil })
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, dbuswire.ErrReply) {
		t.Errorf("error = %v", err)
	}
	host.answer(answerOK)
	if _, err := answerOf(t.Context(), h, fromME()); err != nil {
		t.Error(err)
	}
}

func TestHostDaemonThatStopsInTheMiddleIsGone(t *testing.T) {
	bus := bustest.Start(t)
	host := startHost(t, bus, nil)
	host.reply = host.hang
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	ended := make(chan error, 1)
	go func() {
		_, err := answerOf(t.Context(), h, fromME())
		ended <- err
	}()
	<-host.began
	_ = host.conn.Close()
	if err := <-ended; !errors.Is(err, ipmi.ErrAbandoned) {
		t.Errorf("error = %v", err)
	}
}

func TestLostMessageBusIsGone(t *testing.T) {
	bus := bustest.Start(t)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	bus.Stop()
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, ipmi.ErrAbandoned) {
		t.Errorf("error = %v", err)
	}
}

func TestSlowHostDaemonAnswersNobodyElse(t *testing.T) {
	bus := bustest.Start(t)
	release := make(chan struct{})
	host := startHost(t, bus, nil)
	host.reply = func(args []any) ([]any, error) {
		if len(args[3].([]byte)) == 0 {
			return answerOK(args)
		}
		<-release
		return answerOK(args)
	}
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))

	expired, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := answerOf(expired, h, fromME(9, 9, 9)); !errors.Is(err, ipmi.ErrTooSlow) {
		t.Errorf("slow: %v", err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := answerOf(left, h, fromME(8, 8, 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	close(release)
	for range 50 {
		res, err := answerOf(t.Context(), h, fromME())
		if err != nil || len(res.Data) != 0 {
			t.Fatalf("answer of another request: %v, %v", res, err)
		}
	}
	for h.counts.Value(repliesLate) < 2 {
		// The late replies may be on their way still.
		if _, err := answerOf(t.Context(), h, fromME()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAtMostAHundredExecutesOnAConnection(t *testing.T) {
	bus := bustest.Start(t)
	release := make(chan struct{})
	host := startHost(t, bus, nil)
	host.reply = func(args []any) ([]any, error) { <-release; return answerOK(args) }
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))

	// Half of them are given up: the message bus counts those too. One interface alone would get
	// fewer.
	from := func(i int) *ipmi.Request {
		req := fromME()
		req.Interface = fmt.Sprint("bus", i)
		return req
	}
	ctx, cancel := context.WithCancel(t.Context())
	var kept, dropped sync.WaitGroup
	for i := range 100 / 2 {
		kept.Go(func() {
			if _, err := answerOf(t.Context(), h, from(i)); err != nil {
				t.Errorf("kept call: %v", err)
			}
		})
		dropped.Go(func() { _, _ = answerOf(ctx, h, from(i)) })
	}
	for range 100 {
		<-host.began
	}
	cancel()
	dropped.Wait()
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, ipmi.ErrBusy) {
		t.Errorf("call over the limit: %v", err)
	}
	close(release)
	kept.Wait()
	for {
		// The last of the late replies may be on its way still.
		_, err := answerOf(t.Context(), h, fromME())
		if err == nil {
			return
		}
		if !errors.Is(err, ipmi.ErrBusy) {
			t.Fatal(err)
		}
	}
}

// owned counts the ends.
type owned struct {
	mu    sync.Mutex
	order []byte
	done  sync.WaitGroup
}

// request has a handler serve a request whose first byte tells it from others.
func (o *owned) request(t *testing.T, h ipmi.Handler, req *ipmi.Request, want error) {
	o.done.Add(1)
	h.ServeIPMI(req, ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool {
		defer o.done.Done()
		if !errors.Is(err, want) {
			t.Errorf("request %d: %v, want %v", req.Data[0], err, want)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.order = append(o.order, req.Data[0])
		return true
	}))
}

// wantOrder waits until all requests have ended, which were made in the order 0, 1, ...
func (o *owned) wantOrder(t *testing.T) {
	t.Helper()
	o.done.Wait()
	var want []byte
	for i := range o.order {
		want = append(want, byte(i))
	}
	if diff := cmp.Diff(want, o.order); diff != "" {
		t.Error(diff)
	}
}

func TestHostDaemonGetsRequestsInOrder(t *testing.T) {
	bus := bustest.Start(t)
	host := startDirect(t, bus)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	var answered owned
	for i := range byte(100 / 2) {
		answered.request(t, h, fromME(i), nil)
	}
	answered.wantOrder(t)
	host.wantOrder(t)
}

// The receiver of some requests is to be found first.
func TestHostDaemonGetsSecretsInOrder(t *testing.T) {
	bus := bustest.Start(t)
	host := startDirect(t, bus)
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	var answered owned
	for i := range byte(100 / 2) {
		req := fromME(i)
		if i%3 == 0 {
			req.Command = 0x47 // Set User Password
		}
		answered.request(t, h, req, nil)
	}
	answered.wantOrder(t)
	host.wantOrder(t)
}

// Of requests to a host daemon that leaves, each ends.
func TestLostMessageBusEndsRequestsInOrder(t *testing.T) {
	bus := bustest.Start(t)
	host := startHost(t, bus, nil)
	host.reply = host.hang
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	var ended owned
	for i := range byte(100 / 2) {
		ended.request(t, h, fromME(i), ipmi.ErrAbandoned)
	}
	for range 100 / 2 {
		<-host.began
	}
	bus.Stop()
	ended.wantOrder(t)
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, ipmi.ErrAbandoned) {
		t.Errorf("afterwards: %v", err)
	}
}

// A daemon that replies twice answers nothing else.
func TestSecondReplyAnswersNothing(t *testing.T) {
	bus := bustest.Start(t)
	host := startDirect(t, bus)
	host.times = 2
	h := newHostDaemon(dial(t, bus, dbuswire.Config{}))
	for i := range byte(200) {
		res, err := answerOf(t.Context(), h, fromME(i))
		if err != nil || !bytes.Equal(res.Data, []byte{i}) {
			t.Fatalf("request %d: %v, %v", i, res, err)
		}
	}
}

// directHost is a host IPMI daemon that answers from the goroutine that reads: in order.
type directHost struct {
	owned
	times int // how often it replies
}

func startDirect(t testing.TB, bus *bustest.Bus) *directHost {
	t.Helper()
	h := &directHost{times: 1}
	conn := dial(t, bus, dbuswire.Config{Call: h.take})
	if got, err := conn.RequestName(xml.HostDaemonName, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", got, err)
	}
	return h
}

func (h *directHost) take(from *dbuswire.Conn, m *dbuswire.Message) bool {
	if string(m.Member) != xml.ExecuteMember {
		return false
	}
	args := m.Arguments()
	netFn, lun, cmd, data := args.Byte(), args.Byte(), args.Byte(), bytes.Clone(args.Bytes())
	if len(data) > 0 {
		h.order = append(h.order, data[0])
	}
	to := from.ReplyTo(m)
	to.Destination = string(m.Sender)
	for range h.times {
		header := to.Header(xml.ExecuteOut)
		b := append(header.Begin(8+len(data)), netFn|1, lun, cmd, 0)
		to.Send(dbuswire.Finish(dbuswire.AppendBytes(b, data)), nil)
	}
	return true
}

func BenchmarkHostDaemon(b *testing.B) {
	bus := bustest.Start(b)
	startDirect(b, bus)
	h := newHostDaemon(dial(b, bus, dbuswire.Config{}))
	req := fromME(1, 2, 3)
	done := make(chan error, 1)
	reply := ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool { done <- err; return true })
	b.ReportAllocs()
	for b.Loop() {
		h.ServeIPMI(req, reply)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// onceConn replies to each call at once.
type onceConn struct {
	dbuswire.Conn
	reply dbuswire.Message
}

func (c *onceConn) StartCall(_ uint32, _ []byte, call dbuswire.Call, _ dbuswire.Place) error {
	call.Replied(&c.reply)
	return nil
}

// executeOnce has a request executed by a daemon whose reply is a message in memory.
func executeOnce() func() {
	conn := &onceConn{reply: dbuswire.Message{Type: dbuswire.TypeReturn, Signature: []byte(xml.ExecuteOut), Sender: []byte(":1.1"),
		Body: []byte{7, 2, 1, 0, 3, 0, 0, 0, 1, 2, 3}}}
	req := fromME(1, 2, 3)
	reply := ipmi.ReplyFunc(func(ipmi.Response, error) bool { return true })
	return func() {
		x := &execution{conn: conn, to: &hostDaemon, req: req, reply: reply}
		x.startExecute()
	}
}

func BenchmarkExecute(b *testing.B) {
	once := executeOnce()
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

// A request costs the memory of the message and of the wait for the reply.
func TestExecuteAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(1000, executeOnce()); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
