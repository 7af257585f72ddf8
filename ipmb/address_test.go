package ipmb_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func getDeviceID(to ipmi.Address) ipmb.Request {
	return ipmb.Request{Responder: to, NetFn: ipmi.NetFnApp, Command: 0x01}
}

func TestGeneralCall(t *testing.T) {
	general := func(to ipmi.Address) ipmb.Request {
		req := getDeviceID(to)
		req.GeneralCall = true
		return req
	}
	story(t, "a whole frame behind a 00, answered by the node it names", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		w.place(other, prompt)
		w.do(general(me)).answered()
		sent := w.allWrites()
		if len(sent) != 1 || sent[0].bytes[0] != 0 {
			t.Fatalf("sent %v", sent)
		}
		f, err := ipmb.Decode(sent[0].bytes[1:])
		if err != nil {
			t.Fatal(err)
		}
		f.Sequence = 2
		if got := append([]byte{0}, f.Append(nil)...); !bytes.Equal(got, octets("00 2C 18 BC 20 08 01 D7")) {
			t.Errorf("sent % X (with number 2)", got)
		}
	})

	story(t, "one try", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(general(me)).failed(ipmb.ErrTimeout).at(250 * ms)
		if n := len(w.allWrites()); n != 1 {
			t.Errorf("%d transmissions", n)
		}
	})

	story(t, "its number is held after a time-out", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(general(me)).failed(ipmb.ErrTimeout)
		f, _ := ipmb.Decode(w.allWrites()[0].bytes[1:])
		w.expectNotUsed(f.Sequence, me, 0x01)
	})

	story(t, "get device id only", ipmb.Config{}, func(t *testing.T, w *world) {
		for _, change := range []func(*ipmb.Request){
			func(r *ipmb.Request) { r.Command = 0x02 },
			func(r *ipmb.Request) { r.NetFn = ipmi.NetFnStorage },
		} {
			req := general(me)
			change(&req)
			w.do(req).failed(ipmb.ErrInvalid)
		}
		if len(w.allWrites()) != 0 {
			t.Error("it was sent")
		}
	})

	storyOn(t, "a transport that cannot", i2c.Limits{MaxFrame: 239}, ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		w.do(general(me)).failed(ipmb.ErrUnsupported).at(0)
		w.do(getDeviceID(me)).answered()
		if n := len(w.allWrites()); n != 1 {
			t.Errorf("%d frames were written", n)
		}
	})
}

// What comes in at other addresses than ours.
func TestOtherDestinations(t *testing.T) {
	toAll := from(peer, 1, 0x01)
	elsewhere := from(peer, 1, 0x01)
	elsewhere.Destination = 0x22
	broadcast := from(peer, 1, 0x01)
	broadcast.Destination = 0x00
	warmReset := from(peer, 1, 0x03)
	for _, c := range []struct {
		name     string
		frame    []byte
		answered bool
	}{
		{"a general call that names us is answered", append([]byte{0}, toAll.Append(nil)...), true},
		{"a general call that names another is not", append([]byte{0}, elsewhere.Append(nil)...), false},
		{"a general call of another command is not", append([]byte{0}, warmReset.Append(nil)...), false},
		{"a request to another address is not", elsewhere.Append(nil), false},
		{"ipmbbridge's broadcast is not", broadcast.Append(nil), false},
	} {
		s := new(service)
		story(t, c.name, ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
			w.deliver(c.frame)
			synctest.Wait()
			if got := len(w.answers(peer)) == 1; got != c.answered || (s.count() == 1) != c.answered {
				t.Errorf("%d frames were written, the handler ran %d times", len(w.allWrites()), s.count())
			}
		})
	}
}

func TestBroadcast(t *testing.T) {
	story(t, "ipmbbridge's form", ipmb.Config{}, func(t *testing.T, w *world) {
		if err := broadcast(t.Context(), w.engine, ipmi.NetFnApp, 0, 0x01, nil); err != nil {
			t.Fatal(err)
		}
		if sent := w.allWrites(); len(sent) != 1 || !bytes.Equal(sent[0].bytes, octets("00 18 E8 20 00 01 DF")) {
			t.Errorf("sent %v", sent)
		}
	})

	story(t, "the lun is the requester's", ipmb.Config{}, func(t *testing.T, w *world) {
		if err := broadcast(t.Context(), w.engine, ipmi.NetFnOEM, 3, 0x40, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		f := w.allWrites()[0].frame(t)
		if f.SourceLUN != 3 || f.DestinationLUN != 0 || f.Sequence != 0 || !bytes.Equal(f.Data, []byte{1, 2}) {
			t.Errorf("sent %+v", f)
		}
	})

	for _, c := range []struct {
		name   string
		script []node
		writes int
		want   error
	}{
		{"until it is acknowledged", []node{nack, outbid, nack, silent}, 4, nil},
		{"four times at most", []node{nack}, 4, ipmb.ErrNotAcknowledged},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(0x00, inTurn(c.script...))
			if err := broadcast(t.Context(), w.engine, ipmi.NetFnApp, 0, 0x01, nil); !errors.Is(err, c.want) {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
			if n := len(w.allWrites()); n != c.writes {
				t.Errorf("%d writes, want %d", n, c.writes)
			}
		})
	}

	story(t, "arguments out of range", ipmb.Config{}, func(t *testing.T, w *world) {
		for _, err := range []error{
			broadcast(t.Context(), w.engine, 0x07, 0, 0x01, nil),
			broadcast(t.Context(), w.engine, 0x40, 0, 0x01, nil),
			broadcast(t.Context(), w.engine, ipmi.NetFnApp, 4, 0x01, nil),
		} {
			if !errors.Is(err, ipmb.ErrInvalid) {
				t.Error(err)
			}
		}
		if err := broadcast(t.Context(), w.engine, ipmi.NetFnApp, 0, 0x01, make([]byte, 240)); !errors.Is(err, ipmb.ErrTooLong) {
			t.Error(err)
		}
		if len(w.allWrites()) != 0 {
			t.Error("something was sent")
		}
	})

	story(t, "ends with its context and with run", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(500*ms, silent))
		w.start(ask(me, cmdA))
		w.until(ms) // its write blocks now
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		if err := broadcast(ctx, w.engine, ipmi.NetFnApp, 0, 0x01, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		w.until(600 * ms)
		w.stop()
		if err := broadcast(t.Context(), w.engine, ipmi.NetFnApp, 0, 0x01, nil); !errors.Is(err, ipmb.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestOwnAddress(t *testing.T) {
	const changed ipmi.Address = 0x24
	story(t, "20h by default", ipmb.Config{}, func(t *testing.T, w *world) {
		if a := w.engine.Address(); a != own {
			t.Errorf("it is %v", a)
		}
	})

	story(t, "requests leave from the new address, and their answers come there", ipmb.Config{Address: 0x22}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		w.do(ask(me, cmdA)).answered()
		w.engine.SetAddress(changed)
		w.do(ask(me, cmdA)).answered()
		if before, after := w.writes(me)[0].frame(t), w.writes(me)[1].frame(t); before.Source != 0x22 || after.Source != changed {
			t.Errorf("sent from %v, then from %v", before.Source, after.Source)
		}
		if a := w.engine.Address(); a != changed {
			t.Errorf("it is %v", a)
		}
	})

	story(t, "calls under way keep the address they were sent from", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(silent, late(10*ms)))
		f := w.start(ask(me, cmdA))
		w.until(100 * ms)
		w.engine.SetAddress(changed)
		f.answered().at(260 * ms)
		if again := w.writes(me)[1].frame(t); again.Source != own {
			t.Errorf("sent again from %v", again.Source)
		}
	})

	story(t, "requests to the new address are answered from it", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.engine.SetAddress(changed)
		request := from(peer, 1, cmdA)
		request.Destination = changed
		w.hear(request)
		if a := w.lastAnswer(peer); a.Source != changed {
			t.Errorf("answered from %v", a.Source)
		}
	})

	story(t, "a request from what is ourselves now is dropped", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.engine.SetAddress(peer)
		request := from(peer, 1, cmdA)
		request.Destination = peer
		w.hear(request)
		if len(w.allWrites()) != 0 || w.count("dropped-requester") != 1 {
			t.Errorf("%d frames were written", len(w.allWrites()))
		}
	})
}
