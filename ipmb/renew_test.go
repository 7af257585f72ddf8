package ipmb_test

import (
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestRenew(t *testing.T) {
	renewed := func(w *world, config ipmb.Config) {
		w.t.Helper()
		w.stop()
		if err := w.engine.Renew(config); err != nil {
			w.t.Fatal(err)
		}
		w.reopen()
	}

	story(t, "an answer from before reaches nobody", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.place(me, k.take)
		w.start(ask(me, cmdA))
		w.until(100 * ms)
		renewed(w, ipmb.Config{RetryPolicy: ipmb.RetryPolicy{Tries: 2}})
		w.place(me, silent)
		flights := w.startAll(64, ask(me, cmdA))
		k.answer(w.bus, 0)
		for _, f := range flights {
			if f.wait(); f.err == nil {
				t.Errorf("a call got % X", f.response.Data)
			}
		}
	})

	story(t, "a repeat of a request from before is not served again", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1)
		renewed(w, ipmb.Config{Handler: coded(0x77), Effect: all(ipmi.HasEffect)})
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1)
		if n := w.count("requests-replayed"); n != 1 {
			t.Errorf("%d replays were counted", n)
		}
	})

	story(t, "as many requests as the new settings say may be in handlers", ipmb.Config{}, func(t *testing.T, w *world) {
		hung := ipmi.HandlerFunc(func(*ipmi.Request, ipmi.Reply) {})
		renewed(w, ipmb.Config{Handler: hung, MaxHandlers: 1})
		w.hear(from(peer, 1, cmdA), from(peer, 2, cmdA))
		if n := w.count("handlers-busy"); n != 1 {
			t.Errorf("%d were answered busy", n)
		}
	})

	story(t, "the settings are the new ones", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		w.do(ask(me, cmdA)).answered()
		w.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 5})
		renewed(w, ipmb.Config{Address: 0x22, Handler: coded(0x77), RetryPolicy: ipmb.RetryPolicy{Tries: 3}})
		if a, tries := w.engine.Address(), w.engine.RetryPolicy().Tries; a != 0x22 || tries != 3 {
			t.Errorf("address %v, %d tries", a, tries)
		}
		if n := w.count("calls-answered"); n != 0 {
			t.Errorf("%d calls are counted already", n)
		}
		w.do(ask(me, cmdA)).answered()
		f := from(peer, 9, cmdB)
		f.Destination = 0x22
		w.hear(f)
		if got := w.answers(peer); len(got) != 1 || got[0].Code != 0x77 {
			t.Errorf("answers %v", got)
		}
	})

	story(t, "after Drain it takes requests again", ipmb.Config{Handler: coded(0x66)}, func(t *testing.T, w *world) {
		w.engine.Drain(t.Context())
		renewed(w, ipmb.Config{Handler: coded(0x77)})
		w.hear(from(peer, 9, cmdB))
		if got := w.answers(peer); len(got) != 1 || got[0].Code != 0x77 {
			t.Errorf("answers %v", got)
		}
	})

	story(t, "an engine that runs is left alone", ipmb.Config{}, func(t *testing.T, w *world) {
		if err := w.engine.Renew(ipmb.Config{Address: 0x22}); err == nil || w.engine.Address() != own {
			t.Errorf("%v, address %v", err, w.engine.Address())
		}
	})
}

// coded answers everything with a completion code.
type coded ipmi.CompletionCode

func (c coded) ServeIPMI(_ *ipmi.Request, reply ipmi.Reply) {
	reply.Answer(ipmi.Response{Code: ipmi.CompletionCode(c)}, nil)
}
