package ipmb_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestServe(t *testing.T) {
	s := new(service)
	config := ipmb.Config{Handler: s, Interface: "ipmi-host", Channel: 6, Host: 3}
	story(t, "a request reaches the handler with all it says", config, func(t *testing.T, w *world) {
		request := from(peer, 33, cmdB, 1, 2, 3)
		request.DestinationLUN, request.SourceLUN = 3, 2
		w.hear(request)
		want := []ipmi.Request{{
			Interface: "ipmi-host", Channel: 6, Host: 3,
			Requester: peer, RequesterLUN: 2, Sequence: 33,
			NetFn: ipmi.NetFnApp, LUN: 3, Command: cmdB, Data: []byte{1, 2, 3},
			Deadline: w.epoch.Add(5 * time.Second),
		}}
		if diff := cmp.Diff(want, s.seen()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		answer := request.Response(ipmi.CodeOK, []byte{0, 1, 1, 2, 3})
		if diff := cmp.Diff(answer, w.lastAnswer(peer).Frame); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	story(t, "a platform event is answered as in the book", ipmb.Config{Handler: answering(ipmi.Response{}, nil)}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.deliver(octets("20 10 D0 2C 1C 02 04 01 30 01 57 60 5F 6A"))
		synctest.Wait()
		if sent := w.writes(me); len(sent) != 1 || string(sent[0].bytes) != string(octets("2C 14 C0 20 1C 02 00 C2")) {
			t.Errorf("sent %v", sent)
		}
	})

	for _, c := range []struct {
		name    string
		handler ipmi.Handler
		want    ipmi.CompletionCode
	}{
		{"no handler at all", nil, ipmi.CodeInvalidCommand},
		{"no handler for the command", answering(ipmi.Response{}, ipmi.ErrNoHandler), ipmi.CodeInvalidCommand},
		{"a code of the handler's own", answering(ipmi.Response{Code: ipmi.CodeNotInState}, nil), ipmi.CodeNotInState},
		{"busy", answering(ipmi.Response{}, ipmi.ErrBusy), ipmi.CodeNodeBusy},
		{"too slow by its own word", answering(ipmi.Response{}, ipmi.ErrTooSlow), ipmi.CodeTimeout},
		{"a deadline", answering(ipmi.Response{}, context.DeadlineExceeded), ipmi.CodeTimeout},
		{"no space", answering(ipmi.Response{}, ipmi.ErrNoSpace), ipmi.CodeOutOfSpace},
		{"gone", answering(ipmi.Response{}, ipmi.ErrAbandoned), ipmi.CodeNoResponse},
		{"absent", answering(ipmi.Response{}, ipmi.ErrNotPresent), ipmi.CodeNoResponse},
		{"an unknown error", answering(ipmi.Response{}, errors.New("it broke")), ipmi.CodeUnspecified},
		{"an answer too long", answering(ipmi.Response{Data: make([]byte, 232)}, nil), ipmi.CodeNoResponse},
		{"a panic", ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { panic("it broke") }), ipmi.CodeUnspecified},
	} {
		story(t, "answer when "+c.name, ipmb.Config{Handler: c.handler}, func(t *testing.T, w *world) {
			w.hear(from(peer, 1, cmdA))
			answers := w.answers(peer)
			if len(answers) != 1 || answers[0].Code != c.want || len(answers[0].Data) != 0 {
				t.Errorf("answers %+v, want one with code %02Xh", answers, c.want)
			}
		})
	}

	story(t, "the longest answer", ipmb.Config{Handler: answering(ipmi.Response{Data: make([]byte, 231)}, nil)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		if sent := w.writes(peer); len(sent) != 1 || len(sent[0].bytes) != 239 {
			t.Errorf("%d frames", len(sent))
		}
	})

	storyOn(t, "the transport's limit is the answer's", i2c.Limits{MaxFrame: 32}, ipmb.Config{Handler: answering(ipmi.Response{Data: make([]byte, 25)}, nil)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		if a := w.lastAnswer(peer); a.Code != ipmi.CodeNoResponse {
			t.Errorf("code %02Xh", a.Code)
		}
	})
}

func TestServeSlowHandler(t *testing.T) {
	s := &service{takes: func(*ipmi.Request) time.Duration { return 6 * time.Second }}
	story(t, "too slow is answered at the deadline, the late answer is never sent", ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		w.until(4990 * ms)
		if len(w.answers(peer)) != 0 {
			t.Fatal("answered before the deadline")
		}
		w.until(20 * time.Second)
		answers := w.answers(peer)
		if len(answers) != 1 || answers[0].Code != ipmi.CodeTimeout || answers[0].at != 5*time.Second {
			t.Errorf("answers %+v", answers)
		}
	})

	again := &service{takes: func(*ipmi.Request) time.Duration { return 2 * time.Second }}
	story(t, "a repeat does not run it again", ipmb.Config{Handler: again, HandlerTimeout: time.Second, Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
		for i := range 8 {
			w.until(time.Duration(i) * 500 * ms)
			w.hear(from(peer, 1, cmdA))
		}
		w.until(5 * time.Second)
		if again.count() != 1 {
			t.Errorf("it ran %d times", again.count())
		}
		for _, a := range w.answers(peer) {
			if a.Code != ipmi.CodeTimeout {
				t.Errorf("an answer is %+v", a)
			}
		}
	})

	story(t, "it knows the deadline", ipmb.Config{HandlerTimeout: 300 * ms, Handler: ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		if left := time.Until(req.Deadline); left != 300*ms {
			t.Errorf("%v are left", left)
		}
		return ipmi.Response{}, nil
	})}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
	})

	story(t, "its answer is used after a reopening of the device", ipmb.Config{Handler: slow(2 * time.Second)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		w.stop()
		w.until(time.Second)
		w.reopen()
		w.until(4 * time.Second)
		if answers := w.answers(peer); len(answers) != 1 || answers[0].Code != ipmi.CodeOK || answers[0].at != 2*time.Second {
			t.Errorf("answers %+v", answers)
		}
	})

	story(t, "its answer is kept for a repeat while the device is gone", ipmb.Config{Handler: slow(time.Second)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		w.stop()
		w.until(2 * time.Second)
		w.reopen()
		w.hear(from(peer, 1, cmdA))
		w.until(4 * time.Second)
		if answers := w.answers(peer); len(answers) != 1 || answers[0].Code != ipmi.CodeOK {
			t.Errorf("answers %+v", answers)
		}
	})

	mixed := &service{takes: func(req *ipmi.Request) time.Duration { return time.Duration(req.Data[0]) * 10 * ms }}
	story(t, "a slow one is in no other's way", ipmb.Config{Handler: mixed}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA, 100), from(peer, 2, cmdA, 1))
		w.until(20 * ms)
		if answers := w.answers(peer); len(answers) != 1 || answers[0].Sequence != 2 {
			t.Errorf("answers %+v", answers)
		}
		w.until(2 * time.Second)
		if len(w.answers(peer)) != 2 {
			t.Error("the slow one was not answered")
		}
	})
}

func TestServeLimits(t *testing.T) {
	s := slow(time.Second)
	story(t, "more than may be in handlers are answered busy at once, and may come again", ipmb.Config{Handler: s, MaxHandlers: 2}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA), from(peer, 2, cmdA), from(peer, 3, cmdA))
		answers := w.answers(peer)
		if len(answers) != 1 || answers[0].Sequence != 3 || answers[0].Code != ipmi.CodeNodeBusy {
			t.Fatalf("answers %+v", answers)
		}
		w.until(1100 * ms)
		w.hear(from(peer, 3, cmdA))
		w.until(3 * time.Second)
		if a := w.lastAnswer(peer); a.Sequence != 3 || a.Code != ipmi.CodeOK || s.count() != 3 {
			t.Errorf("the last of %d answers is %+v", s.count(), a)
		}
	})

	many := slow(time.Second)
	story(t, "64 handlers at a time by default", ipmb.Config{Handler: many}, func(t *testing.T, w *world) {
		for i := range 70 {
			w.hear(from(peer, uint8(i&63), cmdA+ipmi.Command(i>>6)))
		}
		if busy := len(w.answers(peer)); many.count() != 64 || busy != 6 {
			t.Errorf("%d run, %d are busy", many.count(), busy)
		}
	})

	quick := new(service)
	story(t, "requests are dropped before a handler runs when answers queue up", ipmb.Config{Handler: quick, MaxResponses: 4}, func(t *testing.T, w *world) {
		w.place(peer, inTurn(blocks(100*ms, silent), silent))
		for i := range 20 {
			w.hear(from(peer, uint8(i), cmdA, byte(i)))
		}
		w.until(50 * ms)
		ran := quick.count()
		if ran < 4 || ran > 6 {
			t.Errorf("the handler ran %d times", ran)
		}
		if n := w.count("dropped-answers-full"); n != uint64(20-ran) {
			t.Errorf("%d requests dropped were counted, the handler ran %d times for 20", n, ran)
		}
		w.until(200 * ms)
		if n := len(w.answers(peer)); n != ran {
			t.Errorf("%d answers of %d runs", n, ran)
		}
		w.hear(from(peer, 19, cmdA, 19)) // was dropped
		if w.lastAnswer(peer).Sequence != 19 {
			t.Error("a request that was dropped is not served when it comes again")
		}
	})

	together := slow(50 * ms)
	story(t, "all requests taken are answered though all handlers end at once", ipmb.Config{Handler: together, MaxResponses: 4}, func(t *testing.T, w *world) {
		w.place(me, blocks(time.Second, silent))
		w.start(ask(me, cmdA))
		for i := range 40 {
			w.hear(from(peer, uint8(i), cmdA))
		}
		w.until(10 * time.Second)
		if ran, answered := together.count(), len(w.answers(peer)); ran != answered || ran == 0 {
			t.Errorf("the handler ran %d times, %d answers were written", ran, answered)
		}
	})
}

func TestServeWritesAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []node
		writes int
		gets   int
	}{
		{"an answer is written up to 4 times", []node{nack, outbid, nack, silent}, 4, 1},
		{"and then given up", []node{nack}, 4, 0},
		{"once when it is taken", []node{silent}, 1, 1},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(peer, inTurn(c.script...))
			w.hear(from(peer, 1, cmdA))
			w.until(time.Second)
			if n := len(w.writes(peer)); n != c.writes || len(w.answers(peer)) != c.gets {
				t.Errorf("%d writes, %d taken", n, len(w.answers(peer)))
			}
			w.hear(from(bystand, 1, cmdA))
			if len(w.answers(bystand)) != 1 {
				t.Error("the next requester was not answered")
			}
		})
	}
}
