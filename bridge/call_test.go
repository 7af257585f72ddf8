package bridge

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// answers notes the completion codes and errors that requests are answered with.
type answers struct {
	mu    sync.Mutex
	late  bool // the owner has answered at the deadline: nothing is taken
	notes []string
}

// Answer implements ipmi.Reply.
func (a *answers) Answer(res ipmi.Response, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	note := fmt.Sprintf("%02X", uint8(res.Code))
	if err != nil {
		note = err.Error()
	}
	a.notes = append(a.notes, note)
	return !a.late
}

func (a *answers) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.notes, want) {
		t.Errorf("%s: answered %q, want %q", what, a.notes, want)
	}
	a.notes = nil
}

// starts is a Send Message of the host's that is answered within a time.
func (w *world) starts(within time.Duration, head byte, frame []byte) *answers {
	a := new(answers)
	ipmi.Serve(w.host.Handler(nobody), &ipmi.Request{
		Interface: "host0", Channel: ipmi.ChannelSystemInterface, NetFn: ipmi.NetFnApp, Command: commandSendMessage,
		Data: append([]byte{head}, frame...), Deadline: time.Now().Add(within),
	}, a)
	return a
}

// takeNumbers has the bus use all numbers that a request of the silent node's can have.
func (s *segment) takeNumbers(t *testing.T) {
	t.Helper()
	for range 64 {
		call := ipmb.NewCall(func(ipmi.Response, error) {})
		req := ipmb.Request{Responder: silent, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID, RetryPolicy: ipmb.RetryPolicy{Tries: 1, Timeout: 3 * time.Second}}
		if err := s.engine.Send(call, &req); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

func (w *world) reserved() int {
	w.bridge.mu.Lock()
	defer w.bridge.mu.Unlock()
	return w.host.queue.reserved
}

func TestACallEndsWithItsRequestersTimeout(t *testing.T) {
	story(t, "not tracked, if the bus has not taken it", func(t *testing.T, w *world) {
		w.bus0.takeNumbers(t)
		heard := len(w.bus0.requests())
		a := w.starts(400*ms, 0x00, getDeviceID(silent, 5))
		a.expect(t, "at once")
		time.Sleep(400 * ms)
		a.expect(t, "at the deadline", "C3")
		time.Sleep(5 * time.Second)
		a.expect(t, "later")
		if n := len(w.bus0.requests()) - heard; n != 0 || w.reserved() != 0 {
			t.Errorf("%d requests on the bus, %d places kept", n, w.reserved())
		}
	})

	story(t, "tracked", func(t *testing.T, w *world) {
		a := w.starts(400*ms, 0x40, getDeviceID(silent, 5))
		time.Sleep(400 * ms)
		a.expect(t, "at the deadline", "C3")
		heard := len(w.bus0.requests())
		time.Sleep(5 * time.Second)
		if n := len(w.bus0.requests()) - heard; n != 0 {
			t.Errorf("%d more requests on the bus", n)
		}
	})

	story(t, "not tracked, and taken: then the queue waits for the response", func(t *testing.T, w *world) {
		if err := w.bus0.wire.Respond(0x50, func(b []byte, reply func([]byte)) {
			request, err := ipmb.Decode(slices.Clone(b))
			if err == nil {
				time.AfterFunc(time.Second, func() { reply(answerTo(request, 1).Append(nil)) })
			}
		}); err != nil {
			t.Fatal(err)
		}
		a := w.starts(400*ms, 0x00, getDeviceID(0x50, 5))
		a.expect(t, "at once", "00")
		time.Sleep(2 * time.Second)
		is(t, "flags", w.flags(), "00 01")
	})

	story(t, "not tracked, and the acceptance comes late", func(t *testing.T, w *world) {
		a := &answers{late: true}
		ipmi.Serve(w.host.Handler(nobody), &ipmi.Request{
			Interface: "host0", NetFn: ipmi.NetFnApp, Command: commandSendMessage, Data: append([]byte{0}, getDeviceID(silent, 5)...),
		}, a)
		a.expect(t, "not taken", "00")
		if w.reserved() != 0 {
			t.Error("a place is kept")
		}
	})
}

func TestTheBridgeEnds(t *testing.T) {
	story(t, "with the requests that it has sent", func(t *testing.T, w *world) {
		tracked := w.starts(time.Minute, 0x40, getDeviceID(silent, 5))
		taken := w.starts(time.Minute, 0x00, bridged(silent, 6, ipmi.NetFnApp, 2))
		w.bus1.takeNumbers(t)
		waiting := w.starts(time.Minute, 0x01, getDeviceID(silent, 7))
		taken.expect(t, "taken", "00")
		begin := time.Now()
		w.end()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
		tracked.expect(t, "tracked", "D3")
		taken.expect(t, "taken")
		waiting.expect(t, "waiting", "D3")
		if w.reserved() != 0 {
			t.Errorf("%d places are kept", w.reserved())
		}
		w.starts(time.Minute, 0x00, getDeviceID(me, 8)).expect(t, "afterwards", "D3")
		w.starts(time.Minute, 0x40, getDeviceID(me, 9)).expect(t, "afterwards, tracked", "D3")
	})

	story(t, "with the events that wait for the log, and takes those of its own still", func(t *testing.T, w *world) {
		w.log.slow = time.Hour
		a := new(answers)
		for range 2 {
			w.serveEvent(w.host, 0x41, 1, a)
		}
		a.expect(t, "at once")
		w.end()
		a.expect(t, "at the end", "context canceled", "context canceled")
		w.serveEvent(w.host, 0x41, 1, a)
		a.expect(t, "afterwards", ipmi.ErrNotPresent.Error())
		w.log.slow = 0
		e := ipmi.Event{Interface: "host0", Generator: 0x0020, Message: [7]byte{4, 0x23, 0, 0x6F, 1, 0xFF, 0xFF}}
		if err := w.host.ReceiveEvent(t.Context(), e); err != nil || len(w.log.events) != 1 {
			t.Errorf("%v, logged %v", err, w.log.events)
		}
	})
}

// TestResponsesComeInTheOrderOfTheBus: answers that the bus delivers in one read come into
// the queue in that order, with requests to LUN 2 in between.
func TestResponsesComeInTheOrderOfTheBus(t *testing.T) {
	story(t, "reversed by the responder", func(t *testing.T, w *world) {
		const count = 9
		var held []ipmb.Frame
		w.bus0.respond(t, 0x50, func(request ipmb.Frame) []ipmb.Frame {
			held = append(held, answerTo(request, byte(request.Command)))
			if len(held) < count {
				return nil
			}
			slices.Reverse(held)
			return held
		})
		for n := range uint8(count) {
			w.starts(time.Minute, 0x00, bridged(0x50, n, ipmi.NetFnApp, ipmi.Command(n+1))).expect(t, "Send Message", "00")
		}
		for n := range uint8(10) {
			w.bus0.says(t, toHost(n))
		}
		for n := range byte(count) {
			if got := w.fetches(); len(got) < 9 || got[8] != count-n {
				t.Errorf("message %d: % X", n, got)
			}
		}
		for n := range byte(10) {
			if got := w.fetches(); len(got) < 8 || got[7] != n {
				t.Errorf("request %d: % X", n, got)
			}
		}
	})
}

// serveEvent brings a Platform Event to an interface, with a number in its data.
func (w *world) serveEvent(i *Interface, software byte, number byte, reply ipmi.Reply) {
	data := slices.Clone(fan)
	data[2] = number
	if software != 0 {
		data = append([]byte{software}, data...)
	}
	ipmi.Serve(i.Handler(nobody), &ipmi.Request{
		Interface: i.config.Name, Channel: i.config.Channel, NetFn: ipmi.NetFnSensor, Command: ipmi.CommandPlatformEvent,
		Data: data, Deadline: time.Now().Add(5 * time.Second),
	}, reply)
}

func TestEventsKeepTheirOrder(t *testing.T) {
	numbers := func(events []ipmi.Event) []byte {
		var all []byte
		for _, e := range events {
			all = append(all, e.Message[2])
		}
		return all
	}
	story(t, "in the log, for subscribers and in the buffer, however slow the log is", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		w.log.slow = 10 * ms
		a := new(answers)
		var want []byte
		for n := range byte(maxEvents) {
			w.serveEvent(w.host, 0x41, n, a)
			want = append(want, n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := numbers(w.log.events); !slices.Equal(got, want) {
			t.Errorf("logged % X", got)
		}
		if got := numbers(w.published); !slices.Equal(got, want) {
			t.Errorf("published % X", got)
		}
		for _, n := range want {
			if got := w.asks(ipmi.NetFnApp, 0x35); len(got) != 17 || got[12] != n {
				t.Errorf("buffered % X, want %d", got, n)
			}
		}
		a.expect(t, "all", slices.Repeat([]string{"00"}, maxEvents)...)
	})

	story(t, "those of other interfaces do not wait", func(t *testing.T, w *world) {
		w.log.slow, w.log.onlyOf = time.Minute, "host0"
		a, b := new(answers), new(answers)
		w.serveEvent(w.host, 0x41, 1, a)
		w.serveEvent(w.bus0.Interface, 0x41, 2, b)
		b.expect(t, "the bus", "00")
		a.expect(t, "the host")
		time.Sleep(5 * time.Second)
		a.expect(t, "the host at the deadline", "context deadline exceeded")
	})

	story(t, "our own behind those that came before", func(t *testing.T, w *world) {
		w.log.slow = 10 * ms
		w.serveEvent(w.host, 0x41, 1, new(answers))
		e := ipmi.Event{Interface: "host0", Generator: 0x0020, Message: [7]byte{4, 0x23, 2, 0x6F, 1, 0xFF, 0xFF}}
		if err := w.host.Report(t.Context(), e); err != nil {
			t.Error(err)
		}
		if got := numbers(w.published); !slices.Equal(got, []byte{1, 2}) {
			t.Errorf("published % X", got)
		}
	})

	story(t, "what the handler acknowledges too late is not published", func(t *testing.T, w *world) {
		h := w.bus1.Handler(ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, nil }))
		ipmi.Serve(h, &ipmi.Request{Interface: "bus1", NetFn: ipmi.NetFnSensor, Command: ipmi.CommandPlatformEvent, Requester: node, Data: fan},
			&answers{late: true})
		if len(w.published) != 0 {
			t.Errorf("published %v", w.published)
		}
	})
}
