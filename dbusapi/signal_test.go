package dbusapi

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// received waits for a ReceivedMessage of bus4 and returns its id.
func (r *rig) received(t *testing.T, want ...any) uint64 {
	t.Helper()
	got := <-r.heard
	if got.Name != receivedMessage || got.Path != bus4 {
		t.Fatalf("signal %+v", got)
	}
	if diff := cmp.Diff(want, got.Body[1:]); diff != "" {
		t.Error(diff)
	}
	return got.Body[0].(uint64)
}

func (r *rig) respond(t *testing.T, id uint64, code byte, data ...byte) error {
	t.Helper()
	_, err := r.call(t, bus4, xml.BusInterface, "sendResponse", id, code, append([]byte{}, data...))
	return err
}

func TestClientAnswersARequest(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	done := serve(t.Context(), r.object.SignalHandler(), fromME(1, 2))
	id := r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{1, 2})
	if err := r.respond(t, id, 0xC7, 3, 4); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil || got.res.Code != 0xC7 || !cmp.Equal(got.res.Data, []byte{3, 4}) {
		t.Errorf("%+v", got)
	}
	if err := r.respond(t, id, 0, 9); errorName(err) != xml.ErrorInvalidArgument {
		t.Errorf("second answer: %v", err)
	}
}

func TestIDsAreNotUsedAgain(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	handler := r.object.SignalHandler()
	last := r.server.ids.Add(1)
	for range 10 {
		done := serve(t.Context(), handler, fromME())
		id := r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{})
		if id <= last {
			t.Errorf("id %d after %d", id, last)
		}
		last = id
		if err := r.respond(t, id, 0); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	if next := openServer(t, r.bus, Config{}).ids.Add(1); next <= last {
		t.Errorf("after a restart: id %d after %d", next, last)
	}
}

func TestAnswersThatNobodyWaitsFor(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	if err := r.respond(t, 1, 0); errorName(err) != xml.ErrorNotAllowed {
		t.Errorf("on a bus with another handler: %v", err)
	}
	handler := r.object.SignalHandler()
	if err := r.respond(t, 1, 0); errorName(err) != xml.ErrorInvalidArgument {
		t.Errorf("unknown id: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := serve(ctx, handler, fromME())
	id := r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{})
	cancel()
	if got := <-done; !errors.Is(got.err, context.Canceled) {
		t.Errorf("%+v", got)
	}
	if err := r.respond(t, id, 0); errorName(err) != xml.ErrorInvalidArgument {
		t.Errorf("late answer: %v", err)
	}
}

// deafRig is a bus answered by signals without a message bus. It can run in a synctest bubble.
func deafRig() *BusObject {
	s := &Server{conn: dbuswire.Detached(), clients: newClients(1, func(string) {})}
	o := new(BusObject)
	o.server, o.path = s, bus4
	return o
}

func TestUnansweredRequests(t *testing.T) {
	const limit = 5 * time.Second
	for name, tt := range map[string]struct {
		history func(*clients)
		want    error
		after   time.Duration
	}{
		"no client has ever answered": {func(*clients) {}, ipmi.ErrNoHandler, limit * 95 / 100},
		"a client that answers is there": {func(c *clients) {
			c.noteAnswerer(":1.5")
			c.noteAnswerer(":1.5")
		}, ipmi.ErrTooSlow, limit},
		"it has left": {func(c *clients) {
			c.noteAnswerer(":1.5")
			c.removeClient(":1.5")
		}, ipmi.ErrNoHandler, limit * 95 / 100},
		"one of two has left": {func(c *clients) {
			c.noteAnswerer(":1.5")
			c.noteAnswerer(":1.6")
			c.removeClient(":1.5")
			c.removeClient(":1.5")
		}, ipmi.ErrTooSlow, limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := deafRig()
				tt.history(o.server.clients)
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begun := time.Now()
				_, err := answerOf(ctx, o.SignalHandler(), fromME())
				if took := time.Since(begun); !errors.Is(err, tt.want) || took != tt.after {
					t.Errorf("%v after %v, want %v after %v", err, took, tt.want, tt.after)
				}
			})
		})
	}
}

// The requester gets an answer exactly if the owner of the request takes it.
func TestAnswerNearTheDeadline(t *testing.T) {
	const limit = 5 * time.Second
	for name, tt := range map[string]struct {
		after time.Duration
		taken bool
	}{
		"in the last twentieth":        {limit - limit/40, true},
		"just before the time is over": {limit - 1, true},
		"when it is over":              {limit + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := deafRig()
				o.server.clients.noteAnswerer(":1.5")
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				done := serve(ctx, o.SignalHandler(), fromME())
				time.Sleep(tt.after)
				synctest.Wait()
				taken := o.answerLast(ipmi.Response{})
				if got := <-done; taken != tt.taken || (got.err == nil) != taken {
					t.Errorf("taken: %v, and the requester has %+v", taken, got)
				}
			})
		})
	}
}

// The requests without an answer end in the order in which they came, and none is kept.
func TestUnansweredRequestsEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := deafRig()
		h := o.SignalHandler()
		var ended []byte
		const requests = 100
		for i := range byte(requests) {
			req := fromME(i)
			req.Deadline = time.Now().Add(time.Duration(4+i%2) * time.Second)
			h.ServeIPMI(req, ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool {
				if !errors.Is(err, ipmi.ErrNoHandler) {
					t.Errorf("request %d: %v", i, err)
				}
				ended = append(ended, i)
				return true
			}))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var want []byte
		for i := range byte(requests) {
			want = append(want, i)
		}
		slices.SortStableFunc(want, func(a, b byte) int { return int(a%2) - int(b%2) })
		if diff := cmp.Diff(want, ended); diff != "" {
			t.Error(diff)
		}
		if n := o.waiting.count(); n != 0 {
			t.Errorf("%d requests wait", n)
		}
	})
}

// A request that a client could have answered is kept until its owner has answered it.
func TestRequestsAreNotKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := deafRig()
		o.server.clients.noteAnswerer(":1.5")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := answerOf(ctx, o.SignalHandler(), fromME())
		synctest.Wait()
		if n := o.waiting.count(); n != 0 || !errors.Is(err, ipmi.ErrTooSlow) {
			t.Errorf("%d requests wait after %v", n, err)
		}
	})
}

// Between the end of the time and the handler's noticing, an answer that was taken is given.
func TestAnswerIsNotLostAtTheEndOfARequest(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			o := deafRig()
			o.server.clients.noteAnswerer(":1.5")
			ctx, cancel := context.WithCancel(t.Context())
			done := serve(ctx, o.SignalHandler(), fromME())
			synctest.Wait()
			taken := o.answerLast(ipmi.Response{Code: 0xC9})
			cancel()
			if got := <-done; !taken || got.err != nil || got.res.Code != 0xC9 {
				t.Fatalf("taken: %v, and the requester has %+v", taken, got)
			}
		})
	}
}

// answerLast answers the last request, and reports whether that was taken.
func (o *BusObject) answerLast(res ipmi.Response) bool {
	_, err := sendResponse(&call{server: o.server, object: &object{bus: o}, sender: ":1.5",
		args: []any{o.server.ids.Load(), byte(res.Code), []byte{}}})
	return err == nil
}

func TestClientThatAnswersComesAndGoes(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	handler := r.object.SignalHandler()
	unanswered := func() *owner {
		req := fromME()
		req.Deadline = time.Now().Add(20 * time.Millisecond)
		o := request(handler, req)
		r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{})
		return o
	}
	if got := <-unanswered().done; !errors.Is(got.err, ipmi.ErrNoHandler) {
		t.Errorf("before anybody has answered: %v", got.err)
	}
	answerer := r.program(t, nil)
	done := serve(t.Context(), handler, fromME())
	id := r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{})
	_, err := answerer.conn.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: bus4, Interface: xml.BusInterface, Member: "sendResponse"},
		id, byte(0), []byte{})
	if got := <-done; err != nil || got.err != nil {
		t.Fatal(err, got)
	}
	left := unanswered() // to its owner
	r.soon(t, func() bool { return r.object.waiting.count() == 0 })
	if len(left.done) != 0 {
		t.Errorf("while the client is there: %v", (<-left.done).err)
	}
	r.leave(t, answerer.conn)
	r.roundTrip(t)
	if got := <-unanswered().done; !errors.Is(got.err, ipmi.ErrNoHandler) {
		t.Errorf("when it has left: %v", got.err)
	}
}

// count is how many requests wait.
func (w *waiting) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.requests)
}

func TestSecretsAreInNoSignal(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	secret := &ipmi.Request{Requester: 0x2C, NetFn: 6, Command: 0x47, Data: []byte("\x02\x02password")}
	if _, err := answerOf(t.Context(), r.object.SignalHandler(), secret); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Errorf("error = %v", err)
	}
	next := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{Code: 0xCC}, nil })
	if res, err := answerOf(t.Context(), r.object.Announce(next), secret); err != nil || res.Code != 0xCC {
		t.Errorf("%v, %v", res, err)
	}
	if _, err := answerOf(t.Context(), r.object.Announce(next), fromME(5)); err != nil {
		t.Fatal(err)
	}
	// The first signal is for the request without a secret.
	r.received(t, byte(0x2C), byte(6), byte(2), byte(1), []byte{5})
}

func TestFullSignalQueueHoldsNobodyUp(t *testing.T) {
	r := newStoppedRig(t, Config{})
	r.stall(t)
	handler := r.object.SignalHandler()
	for range maxSignals {
		r.object.announce(r.server.ids.Add(1), fromME())
	}
	if _, err := answerOf(t.Context(), handler, fromME()); !errors.Is(err, ipmi.ErrBusy) {
		t.Errorf("error = %v", err)
	}
	if n := r.object.statistics()["dbus-signals-dropped"]; n != 1 {
		t.Errorf("%d signals dropped", n)
	}
	if n := r.object.waiting.count(); n != 0 {
		t.Errorf("%d requests wait", n)
	}
}

func TestSignalsLeaveInOrder(t *testing.T) {
	r := newStoppedRig(t, Config{})
	r.listen(t)
	// They are queued before any is sent, and then go many in a write.
	flush := r.stall(t)
	const lengths = 30
	for i := range maxSignals {
		if !r.object.announce(uint64(i), fromME(make([]byte, i%lengths)...)) {
			t.Fatalf("signal %d was dropped", i)
		}
	}
	flush()
	for i := range maxSignals {
		if id := r.received(t, byte(0x2C), byte(6), byte(2), byte(1), make([]byte, i%lengths)); id != uint64(i) {
			t.Fatalf("signal %d is %d", i, id)
		}
	}
}
