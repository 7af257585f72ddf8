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

// wait has a request wait for an answer, which was shown.
func (h *HostIPMI) wait(t *testing.T, req *ipmi.Request) (*hostRequest, *owner) {
	t.Helper()
	o := newOwner()
	r, err := h.numberRequest(req, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, o
}

// answer answers a request by sendMessage.
func (h *HostIPMI) answer(sender string, number uint8, netFn, lun, cmd byte, res ipmi.Response) error {
	_, err := sendMessage(&call{object: &object{hostIPMI: h}, sender: sender,
		args: []any{number, netFn, lun, cmd, byte(res.Code), []byte{}}})
	return err
}

func TestHostRequestHasOneAnswer(t *testing.T) {
	var h HostIPMI
	r, owner := h.wait(t, fromHost(1))
	for name, answer := range map[string]func() error{
		"another netFn":   func() error { return h.answer(":1.1", r.number, 8, 1, 1, ipmi.Response{}) },
		"another LUN":     func() error { return h.answer(":1.1", r.number, 6, 0, 1, ipmi.Response{}) },
		"another command": func() error { return h.answer(":1.1", r.number, 6, 1, 2, ipmi.Response{}) },
	} {
		if err := answer(); !errors.Is(err, errOtherRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.answer(":1.1", r.number+1, 6, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
		t.Errorf("unknown number: %v", err)
	}
	if who := h.lastAnswerer(); who != "" {
		t.Errorf("%s has answered nothing", who)
	}
	if err := h.answer(":1.1", r.number, 7, 1, 1, ipmi.Response{Code: 0xC9}); err != nil || (<-owner.done).res.Code != 0xC9 {
		t.Errorf("the answer: %v", err)
	}
	if err := h.answer(":1.2", r.number, 7, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
		t.Errorf("a second answer: %v", err)
	}
	if who := h.lastAnswerer(); who != ":1.1" {
		t.Errorf("answered by %s", who)
	}
}

func TestNumberOfARequestWithoutAnAnswerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h HostIPMI
		// unanswered is a request that its owner has answered.
		unanswered := func() (*hostRequest, error) {
			req, o := fromHost(1), newOwner()
			req.Deadline = time.Now()
			o.Answer(ipmi.Response{}, ipmi.ErrTooSlow)
			return h.numberRequest(req, o)
		}
		late, err := unanswered()
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			r, _ := h.wait(t, fromHost(1))
			if r.number == late.number {
				t.Fatal("its number is another one's")
			}
			if err := h.answer(":1.1", late.number, 7, 1, 1, ipmi.Response{}); !errors.Is(err, errUnknownID) {
				t.Fatalf("the late answer: %v", err)
			}
			if err := h.answer(":1.1", r.number, 7, 1, 1, ipmi.Response{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 255 {
			if _, err := unanswered(); err != nil {
				t.Fatal("no number is free")
			}
		}
		if _, err := unanswered(); !errors.Is(err, ipmi.ErrBusy) {
			t.Errorf("all numbers rest: %v", err)
		}
		time.Sleep(numberHold)
		if _, err := unanswered(); err != nil {
			t.Errorf("numbers rest for ever: %v", err)
		}
	})
}
