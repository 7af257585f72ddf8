package dbusapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

// fromHost is a request of a host's.
func fromHost(cmd ipmi.Command, data ...byte) *ipmi.Request {
	return &ipmi.Request{Interface: "ipmi_bt_host", Channel: 15, NetFn: 6, LUN: 1, Command: cmd, Data: data}
}

func TestHostRequestHasOneAnswer(t *testing.T) {
	var h hostRequests
	r := h.add(t.Context(), fromHost(1))
	for name, answer := range map[string]func() error{
		"another netFn":   func() error { return h.answer(":1.1", r.seq, 8, 1, 1, ipmi.Response{}) },
		"another LUN":     func() error { return h.answer(":1.1", r.seq, 6, 0, 1, ipmi.Response{}) },
		"another command": func() error { return h.answer(":1.1", r.seq, 6, 1, 2, ipmi.Response{}) },
	} {
		if err := answer(); !errors.Is(err, errOtherRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.answer(":1.1", r.seq+1, 6, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
		t.Errorf("unknown number: %v", err)
	}
	if who := h.lastAnswerer(); who != "" {
		t.Errorf("%s has answered nothing", who)
	}
	if err := h.answer(":1.1", r.seq, 7, 1, 1, ipmi.Response{Code: 0xC9}); err != nil || (<-r.answer).Code != 0xC9 {
		t.Errorf("the answer: %v", err)
	}
	if err := h.answer(":1.2", r.seq, 7, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
		t.Errorf("a second answer: %v", err)
	}
	if who := h.lastAnswerer(); who != ":1.1" || h.giveUp(r) {
		t.Errorf("answered by %s", who)
	}
}

func TestNumberOfARequestWithoutAnAnswerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hostRequests
		late := h.add(t.Context(), fromHost(1))
		if !h.giveUp(late) {
			t.Error("it has an answer")
		}
		for range 1000 {
			r := h.add(t.Context(), fromHost(1))
			if r.seq == late.seq {
				t.Fatal("its number is another one's")
			}
			if err := h.answer(":1.1", late.seq, 7, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
				t.Fatalf("the late answer: %v", err)
			}
			if err := h.answer(":1.1", r.seq, 7, 1, 1, ipmi.Response{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 255 {
			if r := h.add(t.Context(), fromHost(1)); r == nil || !h.giveUp(r) {
				t.Fatal("no number is free")
			}
		}
		if h.add(t.Context(), fromHost(1)) != nil {
			t.Error("all numbers rest")
		}
		time.Sleep(numberRests)
		if h.add(t.Context(), fromHost(1)) == nil {
			t.Error("numbers rest for ever")
		}
	})
}

// What is taken is what the host gets, though its deadline is kept by somebody else:
// the number is known until the handler returns, and refused before.
func TestAnswerToAHostNearTheDeadline(t *testing.T) {
	const limit = 4500 * time.Millisecond
	for name, tt := range map[string]struct {
		after time.Duration
		want  error
	}{
		"in time":            {limit - answerTime - 1, nil},
		"in the last moment": {limit - answerTime, errUnknownID},
		"after the deadline": {limit + time.Second, errUnknownID},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				var h hostRequests
				r := h.add(ctx, fromHost(1))
				time.Sleep(tt.after)
				if err := h.answer(":1.1", r.seq, 7, 1, 1, ipmi.Response{}); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				if unanswered := h.giveUp(r); unanswered != (tt.want != nil) {
					t.Errorf("without an answer: %v", unanswered)
				}
			})
		})
	}
}
