package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// hang answers nothing before the test ends.
func (h *fakeHost) hang([]any) ([]any, error) { return h.Silence.Call() }

// roundTrip returns when the server has read all messages that the message bus had for it.
func (r *rig) roundTrip(t *testing.T) {
	t.Helper()
	if _, err := r.call(t, "/", xml.PeerInterface, "Ping"); err != nil {
		t.Fatal(err)
	}
}

// soon waits until something is true that messages on their way make true.
func (r *rig) soon(t *testing.T, is func() bool) {
	t.Helper()
	for !is() {
		r.roundTrip(t)
	}
}

func TestHandlerGetsTheRequest(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	p.mustRegister(t, "/handler", appCommand(1))
	req := fromME(1, 2, 3)
	req.Channel = 7
	res, err := answerOf(t.Context(), r.mux, req)
	if diff := cmp.Diff(ipmi.Response{Data: []byte{1, 2, 3}}, res); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	want := []any{r.server.conn.Name(), byte(6), byte(2), byte(1), []byte{1, 2, 3}, map[string]dbus.Variant{
		"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(int32(3)), "channel": dbus.MakeVariant(byte(7)),
		"interface": dbus.MakeVariant("bus4"), "requester": dbus.MakeVariant(byte(0x2C)),
	}}
	if diff := cmp.Diff(want, p.calls[0], cmp.Comparer(sameVariant)); diff != "" {
		t.Error(diff)
	}
	// A handler can see that it is the service that calls.
	if owner, err := p.conn.CallBus(t.Context(), "GetNameOwner", xml.ServiceName); err != nil || owner[0] != p.calls[0][0] {
		t.Errorf("the service is %v, %v", owner, err)
	}
}

func TestHandlerThatAnswersWrongly(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	p.mustRegister(t, "/handler", appCommand(1))
	for name, reply := range map[string]func([]any) ([]any, error){
		"nothing":           func([]any) ([]any, error) { return nil, nil },
		"a string":          func([]any) ([]any, error) { return []any{"answer"}, nil },
		"other netFn":       func([]any) ([]any, error) { return []any{hostResult{9, 0, 1, 0, nil}}, nil },
		"other command":     func([]any) ([]any, error) { return []any{hostResult{7, 0, 2, 0, nil}}, nil },
		"an error":          func([]any) ([]any, error) { return nil, dbus.NewError("a.b.C", nil) },
		"unknown object":    func([]any) ([]any, error) { return nil, &dbus.ErrMsgNoObject },
		"unknown interface": func([]any) ([]any, error) { return nil, &dbus.ErrMsgUnknownInterface },
		"unknown method":    func([]any) ([]any, error) { return nil, &dbus.ErrMsgUnknownMethod },
	} {
		p.answer(reply)
		if res, err := answerOf(t.Context(), r.mux, fromME()); ipmi.CodeOf(err) != ipmi.CodeUnspecified {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
	p.answer(answerWith(1))
	if got := r.ask(t, func(*ipmi.Request) {}); got != 1 {
		t.Errorf("afterwards: %d", got)
	}
}

func TestErrorOfAHandlerNamesIt(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, func([]any) ([]any, error) { return nil, dbus.NewError("a.b.C", []any{"as told"}) })
	p.mustRegister(t, "/my/handler", appCommand(1))
	name := p.conn.Name()
	owner := fmt.Sprintf("%s (process %d)", name, ownProgram(name, bus.Process{}).PID)
	_, err := answerOf(t.Context(), r.mux, fromME())
	if want := "handler /my/handler of " + owner + ": a.b.C: as told"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %v", err, want)
	}
}

func TestHandlerThatDiesInTheMiddle(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	p.answer(p.hang)
	p.mustRegister(t, "/handler", appCommand(1))
	done := serve(t.Context(), r.mux, fromME())
	<-p.began
	r.leave(t, p.conn)
	if got := <-done; !errors.Is(got.err, ipmi.ErrAbandoned) {
		t.Errorf("%+v", got)
	}
	if _, err := answerOf(t.Context(), r.mux, fromME()); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Errorf("afterwards: %v", err)
	}
}

// A request may have found the handler before its owner was seen to leave.
func TestHandlerThatIsNotThere(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	p.mustRegister(t, "/handler", appCommand(1))
	h := r.server.router.listHandlers()[0]
	r.leave(t, p.conn)
	if _, err := answerOf(t.Context(), h, fromME()); !errors.Is(err, ipmi.ErrNotPresent) {
		t.Errorf("error = %v", err)
	}
}

func TestHandlerThatHangs(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	late := make(chan struct{})
	p.answer(func(args []any) ([]any, error) { <-late; return answerWith(1)(args) })
	p.mustRegister(t, "/handler", appCommand(1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if res, err := answerOf(ctx, r.mux, fromME()); !errors.Is(err, ipmi.ErrTooSlow) {
		t.Errorf("%v, %v", res, err)
	}
	<-p.began

	// The next request is not answered by the late answer.
	p.answer(answerWith(2))
	close(late)
	r.soon(t, func() bool { return r.server.Statistics()["handler-replies-late"] == 1 })
	if got := r.ask(t, func(*ipmi.Request) {}); got != 2 {
		t.Errorf("answered by %d", got)
	}
}

func TestRequestInProgressOutlivesItsRegistration(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	release := make(chan struct{})
	p.answer(func(args []any) ([]any, error) { <-release; return answerWith(1)(args) })
	p.mustRegister(t, "/handler", appCommand(1))
	done := serve(t.Context(), r.mux, fromME())
	<-p.began
	if err := p.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/handler")); err != nil {
		t.Fatal(err)
	}
	close(release)
	if got := <-done; got.err != nil || !cmp.Equal(got.res.Data, []byte{1}) {
		t.Errorf("%+v", got)
	}
}

// busy starts a program that has as many requests as it may, all without an answer.
func (r *routerRig) busy(t *testing.T, cmd byte) *fakeHost {
	t.Helper()
	p := r.grown(t, cmd)
	before := r.server.router.inProgress()
	for range xml.MaxExecutes {
		r.begin(cmd)
	}
	if n := r.server.router.inProgress() - before; n != xml.MaxExecutes {
		t.Fatalf("%d calls have begun", n)
	}
	for range xml.MaxExecutes {
		<-p.began
	}
	return p
}

// grown starts a program that may have as many requests as any, and answers no more.
func (r *routerRig) grown(t *testing.T, cmd byte) *fakeHost {
	t.Helper()
	p := r.program(t, answerWith(1))
	p.mustRegister(t, "/handler", appCommand(cmd))
	p.mustRegister(t, "/other", appCommand(cmd|0x80))
	for range xml.MaxExecutes {
		r.ask(t, func(req *ipmi.Request) { req.Command = ipmi.Command(cmd) })
		<-p.began
	}
	p.answer(p.hang)
	return p
}

// begin makes a request that has a minute.
func (r *routerRig) begin(cmd byte) *owner {
	req := fromME()
	req.Command = ipmi.Command(cmd)
	req.Deadline = r.clock.now().Add(time.Minute)
	return request(r.mux, req)
}

// hanging starts a program that has as many requests as it may, and whose requests are all past
// their deadlines.
func (r *routerRig) hanging(t *testing.T, cmd byte) *fakeHost {
	t.Helper()
	p := r.busy(t, cmd)
	r.clock.advance(2 * time.Minute)
	for _, handler := range []ipmi.Command{0, 0x80} {
		req := fromME()
		req.Command = ipmi.Command(cmd) | handler
		if _, err := answerOf(t.Context(), r.mux, req); !errors.Is(err, ipmi.ErrBusy) {
			t.Errorf("call over the limit: %v", err)
		}
	}
	return p
}

func TestBusyHandlerGetsTheRestInItsTurn(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	var most, now atomic.Int32
	p.answer(func(args []any) ([]any, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return answerOK(args)
	})
	p.mustRegister(t, "/handler", appCommand(1))
	var done sync.WaitGroup
	for range 200 {
		done.Go(func() {
			if got, err := answerOf(t.Context(), r.mux, fromME()); err != nil || got.Code != ipmi.CodeOK {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	done.Wait()
	if most.Load() > xml.MaxExecutes {
		t.Errorf("%d at a time", most.Load())
	}
}

func TestRequestThatWaitsForABusyHandler(t *testing.T) {
	for name, end := range map[string]struct {
		how  func(r *routerRig, p *fakeHost, cancel func())
		want error
	}{
		"its own time is over": {func(_ *routerRig, _ *fakeHost, cancel func()) { cancel() }, context.Canceled},
		"the requests before it are, and another one comes": {func(r *routerRig, _ *fakeHost, _ func()) {
			r.clock.advance(2 * time.Minute)
			r.begin(1)
		}, ipmi.ErrBusy},
		"the program leaves": {func(r *routerRig, p *fakeHost, _ func()) { r.leave(t, p.conn) }, ipmi.ErrNotPresent},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouterRig(t)
			p := r.busy(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			waiting := serve(ctx, r.mux, fromME())
			if n := r.server.router.calls.inLine(ownProgram(p.conn.Name(), bus.Process{})); n != 1 {
				t.Fatalf("%d in line", n)
			}
			end.how(r, p, cancel)
			if got := <-waiting; !errors.Is(got.err, end.want) {
				t.Errorf("%v, want %v", got.err, end.want)
			}
		})
	}
}

func TestHangingHandlerHoldsUpNobodyElse(t *testing.T) {
	r := newRouterRig(t)
	r.hanging(t, 1)
	r.program(t, answerWith(2)).mustRegister(t, "/handler", appCommand(2))
	if got := r.ask(t, func(req *ipmi.Request) { req.Command = 2 }); got != 2 {
		t.Errorf("answered by %d", got)
	}
	startHost(t, r.bus, answerOK)
	host, err := r.server.HostDaemon(t.Context(), "Ipmb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answerOf(t.Context(), host, fromME()); err != nil {
		t.Errorf("host daemon: %v", err)
	}
}

func TestHangingHandlersLeaveRoomForTheHostDaemon(t *testing.T) {
	r := newRouterRig(t)
	for i := range byte(30) {
		if i < 3 {
			r.grown(t, i)
		} else {
			r.program(t, nil).hangs(t, i)
		}
		for range 2 * xml.MaxExecutes {
			r.begin(i)
		}
	}
	if n := r.server.router.inProgress(); n != maxCallsOfHandlers {
		t.Fatalf("%d calls are in progress", n)
	}
	r.clock.advance(2 * time.Minute)
	r.program(t, answerOK).mustRegister(t, "/handler", appCommand(99))
	if got := <-r.begin(99).done; !errors.Is(got.err, ipmi.ErrBusy) {
		t.Errorf("call over the limit of all handlers: %v", got.err)
	}
	startHost(t, r.bus, answerOK)
	host, err := r.server.HostDaemon(t.Context(), "Ipmb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answerOf(t.Context(), host, fromME()); err != nil {
		t.Errorf("host daemon: %v", err)
	}
}

// hangs registers a program that answers nothing.
func (h *fakeHost) hangs(t *testing.T, cmd byte) {
	t.Helper()
	h.answer(h.hang)
	h.mustRegister(t, "/handler", appCommand(cmd))
}

// Programs that hang, from the beginning or after a good time, leave the handler of a healthy
// program working: before and after the deadlines of their requests, and when they get new ones.
func TestHangingProgramsLeaveAHealthyOneUnharmed(t *testing.T) {
	const healthy = 99
	for _, hung := range []byte{5, 20} {
		for name, start := range map[string]func(*routerRig, *testing.T, byte){
			"never answered": func(r *routerRig, t *testing.T, cmd byte) { r.program(t, nil).hangs(t, cmd) },
			"answer no more": func(r *routerRig, t *testing.T, cmd byte) { r.grown(t, cmd) },
			"some of either": func(r *routerRig, t *testing.T, cmd byte) { r.someHang(t, cmd) },
		} {
			t.Run(fmt.Sprint(hung, " ", name), func(t *testing.T) {
				r := newRouterRig(t)
				for i := range hung {
					start(r, t, i)
				}
				r.program(t, answerOK).mustRegister(t, "/handler", appCommand(healthy))
				for round := range 10 {
					for i := range hung {
						for range 2 {
							r.begin(i)
						}
					}
					var burst []*owner
					for range 20 {
						burst = append(burst, r.begin(healthy))
					}
					for _, o := range burst {
						if got := <-o.done; got.err != nil {
							t.Fatalf("round %d: %v", round, got.err)
						}
					}
					if round > 3 { // They have all they get.
						r.clock.advance(2 * time.Minute)
					}
				}
			})
		}
	}
}

func (r *routerRig) someHang(t *testing.T, cmd byte) {
	t.Helper()
	if cmd%3 == 0 {
		r.grown(t, cmd)
	} else {
		r.program(t, nil).hangs(t, cmd)
	}
}

// A program that hung and replies, late, is called again as before.
func TestProgramThatRecovers(t *testing.T) {
	r := newRouterRig(t)
	p := r.grown(t, 1)
	release := make(chan struct{})
	p.answer(func(args []any) ([]any, error) { <-release; return answerWith(1)(args) })
	for range xml.MaxExecutes {
		o := r.begin(1)
		o.Answer(ipmi.Response{}, ipmi.ErrTooSlow)
	}
	r.clock.advance(2 * time.Minute)
	if got := <-r.begin(1).done; !errors.Is(got.err, ipmi.ErrBusy) {
		t.Errorf("while it hangs: %v", got.err)
	}
	close(release)
	r.soon(t, func() bool { return r.server.router.inProgress() == 0 })
	if late := r.server.Statistics()["handler-replies-late"]; late != xml.MaxExecutes {
		t.Errorf("%d late replies", late)
	}
	var burst []*owner
	for range 2 * xml.MaxExecutes {
		burst = append(burst, r.begin(1))
	}
	for _, o := range burst {
		if got := <-o.done; got.err != nil {
			t.Error(got.err)
		}
	}
}

func TestOwnerThatLeavesGivesBackWhatItOwed(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *routerRig) *fakeHost{
		"calls in progress": func(t *testing.T, r *routerRig) *fakeHost { return r.busy(t, 1) },
		"calls given up":    func(t *testing.T, r *routerRig) *fakeHost { return r.hanging(t, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouterRig(t)
			p := start(t, r)
			r.leave(t, p.conn)
			r.soon(t, func() bool { return r.server.router.inProgress() == 0 })
			if late := r.server.Statistics()["handler-replies-late"]; late != 0 {
				t.Errorf("%d late replies", late)
			}
			r.soon(t, func() bool { return r.server.router.calls.countPrograms() == 0 })
			// There is room for as many again.
			r.hanging(t, 1)
			r.hanging(t, 2)
		})
	}
}

// inProgress is the calls of all handlers.
func (r *router) inProgress() int {
	r.calls.mu.Lock()
	defer r.calls.mu.Unlock()
	return r.calls.calls.Used()
}

// countPrograms is how many programs are known.
func (q *callQueue) countPrograms() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.programs)
}

// inLine is how many requests wait for a program.
func (q *callQueue) inLine(process bus.Process) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.programs[process]; p != nil {
		return len(p.line)
	}
	return 0
}

// Each of many requests at once gets its own answer.
func TestHandlersAtOnce(t *testing.T) {
	r := newRouterRig(t)
	for i := range byte(4) {
		r.program(t, answerOK).mustRegister(t, dbus.ObjectPath(fmt.Sprint("/", i)), appCommand(i))
	}
	const rounds = 200
	failed := make(chan error, 4)
	for i := range byte(4) {
		go func() {
			for n := range rounds {
				req := fromME(i, byte(n))
				req.Command = ipmi.Command(i)
				if res, err := answerOf(t.Context(), r.mux, req); err != nil || !cmp.Equal(res.Data, req.Data) {
					failed <- fmt.Errorf("%v, %w", res, err)
					return
				}
			}
			failed <- nil
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// An error that a program made, or passes on, does not say that no handler ran:
// a repeat of the request would run it twice.
func TestErrorNamesOfAProgramAreItsOwn(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, nil)
	p.mustRegister(t, "/handler", appCommand(1))
	for _, name := range []string{"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.LimitsExceeded"} {
		p.answer(func([]any) ([]any, error) { return nil, dbus.NewError(name, []any{"somebody else's"}) })
		if _, err := answerOf(t.Context(), r.mux, fromME(1)); ipmi.NotServed(err) {
			t.Errorf("%s, after the handler ran: %v", name, err)
		}
	}
}
