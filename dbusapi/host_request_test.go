package dbusapi

import (
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
	r := h.add(fromHost(1))
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
		late := h.add(fromHost(1))
		if !h.giveUp(late) {
			t.Error("it has an answer")
		}
		for range 1000 {
			r := h.add(fromHost(1))
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
			if r := h.add(fromHost(1)); r == nil || !h.giveUp(r) {
				t.Fatal("no number is free")
			}
		}
		if h.add(fromHost(1)) != nil {
			t.Error("all numbers rest")
		}
		time.Sleep(numberRests)
		if h.add(fromHost(1)) == nil {
			t.Error("numbers rest for ever")
		}
	})
}
