package ipmb_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// deferring defers every request, and reports which came.
type deferring struct{ service }

func (d *deferring) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	d.service.ServeIPMI(req, ipmi.ReplyFunc(func(ipmi.Response, error) bool { return false }))
	reply.Answer(ipmi.Response{}, ipmi.ErrDeferred)
}

// responds answers a request that was heard from elsewhere, with the data given.
func (w *world) responds(request ipmb.Frame, data ...byte) error {
	return respond(w.t.Context(), w.engine, request.Response(ipmi.CodeOK, data).Append(nil))
}

// toHostSoftware is a request to LUN 2.
func toHostSoftware(sequence uint8) ipmb.Frame {
	f := from(peer, sequence, cmdA, sequence)
	f.DestinationLUN = 2
	return f
}

func TestDeferred(t *testing.T) {
	d := new(deferring)
	story(t, "the answer comes from elsewhere, once", ipmb.Config{Handler: d}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.hear(request)
		w.hear(request) // a repeat meanwhile
		if n := len(w.answers(peer)); n != 0 {
			t.Fatalf("%d answers before there is one", n)
		}
		w.until(time.Second)
		if err := w.responds(request, 1, 2, 3); err != nil {
			t.Fatal(err)
		}
		if err := w.responds(request, 4, 5, 6); !errors.Is(err, ipmb.ErrAnswered) {
			t.Errorf("a second answer: %v", err)
		}
		w.until(2 * time.Second)
		w.hear(request) // a repeat afterwards
		w.until(10 * time.Second)
		answers := w.answers(peer)
		if len(answers) != 2 || !slices.Equal(answers[0].Data, []byte{1, 2, 3}) || !slices.Equal(answers[1].Data, []byte{1, 2, 3}) {
			t.Errorf("answers %+v", answers)
		}
		if d.count() != 1 {
			t.Errorf("the handler ran %d times", d.count())
		}
	})

	story(t, "nobody answers: C3h at the deadline, and a late answer is refused", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.hear(request)
		w.until(5100 * ms)
		answers := w.answers(peer)
		if len(answers) != 1 || answers[0].Code != ipmi.CodeTimeout || answers[0].at != 5*time.Second {
			t.Fatalf("answers %+v", answers)
		}
		if err := w.responds(request, 1); !errors.Is(err, ipmb.ErrAnswered) {
			t.Errorf("the late answer: %v", err)
		}
		if n := len(w.answers(peer)); n != 1 {
			t.Errorf("%d answers", n)
		}
	})

	story(t, "those deferred are in no other's way", ipmb.Config{Handler: new(deferring), MaxHandlers: 1}, func(t *testing.T, w *world) {
		for i := range 20 {
			w.hear(toHostSoftware(uint8(i)))
		}
		if n := w.count("requests-deferred"); n != 20 || len(w.answers(peer)) != 0 {
			t.Errorf("%d deferred, answers %+v", n, w.answers(peer))
		}
	})

	story(t, "the answer is there before the handler has returned", ipmb.Config{}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.stop()
		w.engine = ipmb.New(ipmb.Config{Handler: ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
			answer := request.Response(ipmi.CodeOK, []byte{9}).Append(nil)
			err := w.engine.StartRespond(answer, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Error(err)
			}
			return ipmi.Response{}, ipmi.ErrDeferred
		})})
		w.reopen()
		w.hear(request)
		w.until(10 * time.Second)
		if answers := w.answers(peer); len(answers) != 1 || !slices.Equal(answers[0].Data, []byte{9}) {
			t.Errorf("answers %+v", answers)
		}
		if n := w.count("handler-answers-late"); n != 0 {
			t.Errorf("%d late", n)
		}
	})

	story(t, "at a stop they are answered CEh", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		w.hear(toHostSoftware(7))
		w.engine.Drain(t.Context())
		if answers := w.answers(peer); len(answers) != 1 || answers[0].Code != ipmi.CodeNoResponse {
			t.Errorf("answers %+v", answers)
		}
	})

	story(t, "over a reopening of the device", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.hear(request)
		w.stop()
		if err := w.responds(request, 1); !errors.Is(err, ipmb.ErrClosed) {
			t.Errorf("while it is closed: %v", err)
		}
		w.reopen()
		if err := w.responds(request, 1); err != nil {
			t.Error(err)
		}
		w.engine.Drain(t.Context())
		if answers := w.answers(peer); len(answers) != 1 {
			t.Errorf("answers %+v", answers)
		}
	})
}

func TestRespond(t *testing.T) {
	story(t, "to a request that is not known", ipmb.Config{}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		if err := w.responds(request, 1); err != nil {
			t.Fatal(err)
		}
		if answers := w.answers(peer); len(answers) != 1 || answers[0].Sequence != 7 || answers[0].SourceLUN != 2 {
			t.Errorf("answers %+v", answers)
		}
	})
	for _, c := range []struct {
		name  string
		at    node
		frame []byte
		want  error
	}{
		{"a request", silent, toHostSoftware(1).Append(nil), ipmb.ErrInvalid},
		{"a frame that is too short", silent, octets("40 1E"), ipmb.ErrInvalid},
		{"a wrong checksum", silent, octets("40 1E A2 20 1E 01 00 00"), ipmb.ErrInvalid},
		{"address zero", silent, ipmb.Frame{NetFn: 7, Source: own}.Append(nil), ipmb.ErrInvalid},
		{"not acknowledged", nack, toHostSoftware(1).Response(ipmi.CodeOK, nil).Append(nil), ipmb.ErrNotAcknowledged},
		{"arbitration lost", outbid, toHostSoftware(1).Response(ipmi.CodeOK, nil).Append(nil), ipmb.ErrArbitrationLost},
		{"too long", silent, toHostSoftware(1).Response(ipmi.CodeOK, make([]byte, 232)).Append(nil), ipmb.ErrTooLong},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(peer, c.at)
			if err := respond(t.Context(), w.engine, c.frame); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestBridgeTimeout(t *testing.T) {
	s := &service{takes: func(req *ipmi.Request) time.Duration {
		if req.Command == cmdB {
			return 8 * time.Second
		}
		return 0
	}}
	config := ipmb.Config{Handler: s, MaxHandlers: 2, BridgeTimeout: func(f ipmb.Frame) time.Duration {
		if f.Command == cmdB {
			return 10 * time.Second
		}
		return 0
	}}
	story(t, "a request that may take longer does, and is in no other's way", config, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdB), from(peer, 2, cmdB), from(peer, 3, cmdB), from(peer, 4, cmdA))
		synctest.Wait()
		var codes []ipmi.CompletionCode
		for _, a := range w.answers(peer) {
			codes = append(codes, a.Code)
		}
		if !slices.Equal(codes, []ipmi.CompletionCode{ipmi.CodeNodeBusy, ipmi.CodeOK}) {
			t.Fatalf("at once: %v", codes)
		}
		w.until(8100 * ms)
		if answers := w.answers(peer); len(answers) != 4 || answers[3].Code != ipmi.CodeOK || answers[3].at != 8*time.Second {
			t.Errorf("answers %+v", answers)
		}
	})
}

func TestUnsolicitedResponse(t *testing.T) {
	var unsolicited []ipmb.Frame
	config := ipmb.Config{UnsolicitedResponse: func(f ipmb.Frame) {
		f.Data = slices.Clone(f.Data)
		unsolicited = append(unsolicited, f)
	}}
	toLUN := func(lun ipmi.LUN) ipmb.Frame {
		request := ask(me, cmdA)
		return ipmb.Frame{
			Destination: own, NetFn: ipmi.NetFnApp.Response(), DestinationLUN: lun,
			Source: me, Sequence: 9, Command: cmdA, Data: request.Data,
		}
	}
	story(t, "a response to LUN 2 that nobody waits for is passed on", config, func(t *testing.T, w *world) {
		unsolicited = nil
		w.hear(toLUN(0), toLUN(1), toLUN(2), toLUN(3))
		if len(unsolicited) != 1 || unsolicited[0].DestinationLUN != 2 || w.count("responses-stray") != 1 || w.count("responses-unexpected") != 3 {
			t.Errorf("unsolicited %+v", unsolicited)
		}
	})

	// With the number that the engine gave the request it would be taken for the answer to another
	// request of host software.
	story(t, "a second answer to a request of ours is not", config, func(t *testing.T, w *world) {
		unsolicited = nil
		w.place(me, times(3))
		request := ask(me, cmdA)
		request.RequesterLUN = 2
		w.do(request).answered()
		w.until(3 * time.Second)
		w.hear(toLUN(2))
		if len(unsolicited) != 0 {
			t.Errorf("unsolicited %+v", unsolicited)
		}
		w.until(10 * time.Second)
		w.hear(toLUN(2))
		if len(unsolicited) != 1 {
			t.Errorf("unsolicited %+v", unsolicited)
		}
	})
}

// A response that could reach no requester is refused.
func TestDeferredAreBounded(t *testing.T) {
	story(t, "as everything of the table is", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		for cmd := range 100 {
			for n := range 64 {
				f := toHostSoftware(uint8(n))
				f.Command = ipmi.Command(cmd)
				w.hear(f)
			}
		}
		if n := w.count("requests-deferred"); n > 512 {
			t.Errorf("%d requests wait for an answer; the table has room for 512", n)
		}
	})
}

// Its requester has used the number many times since: the C3h would be another
// request's answer.
func TestDeferredOverALongOutage(t *testing.T) {
	story(t, "the answer comes in time or not at all", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		w.hear(toHostSoftware(7))
		w.stop()
		w.until(time.Hour)
		w.reopen()
		w.until(time.Hour + 10*time.Second)
		if answers := w.answers(peer); len(answers) != 0 {
			t.Errorf("an hour later: %+v", answers)
		}
	})
	story(t, "nor is one of host software's written", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		w.hear(toHostSoftware(7))
		w.stop()
		w.until(time.Hour)
		w.reopen()
		w.engine.Drain(t.Context())
		if answers := w.answers(peer); len(answers) != 0 {
			t.Errorf("an hour later: %+v", answers)
		}
	})
}

// The requester drops responses from another address than the one that it asked.
func TestResponseFromAnotherAddressIsNoAnswer(t *testing.T) {
	story(t, "the request is answered C3h at its deadline", ipmb.Config{Handler: new(deferring)}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.hear(request)
		foreign := request.Response(ipmi.CodeOK, []byte{1})
		foreign.Source = 0x22 // host software that does not know our address
		err := respond(t.Context(), w.engine, foreign.Append(nil))
		w.until(10 * time.Second)
		for _, a := range w.answers(peer) {
			if a.Source == own {
				return
			}
		}
		t.Errorf("Respond: %v; the requester never hears from whom it asked: %+v", err, w.answers(peer))
	})
}

// With the window off, too, a request has one answer.
func TestOneAnswerWithoutAWindow(t *testing.T) {
	story(t, "a late one is refused", ipmb.Config{Handler: new(deferring), DuplicateWindow: -1}, func(t *testing.T, w *world) {
		request := toHostSoftware(7)
		w.hear(request)
		w.until(5100 * ms)
		err := w.responds(request, 1)
		w.until(6 * time.Second)
		if answers := w.answers(peer); len(answers) != 1 {
			t.Errorf("Respond: %v; answers %+v", err, answers)
		}
	})
}
