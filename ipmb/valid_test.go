package ipmb_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// What is not a frame is dropped and counted by reason, and does no harm.
func TestFramesThatAreNotValid(t *testing.T) {
	odd := from(0x41, 3, cmdA).Append(nil)
	zero := from(0x00, 3, cmdA).Append(nil)
	self := from(own, 3, cmdA).Append(nil)
	right := from(peer, 3, cmdA).Append(nil)
	wrongHeader, wrongBody := bytes.Clone(right), bytes.Clone(right)
	wrongHeader[2]++
	wrongBody[6]++

	for _, c := range []struct {
		name    string
		frame   []byte
		counter string
	}{
		{"an empty frame", nil, "dropped-short"},
		{"one byte", []byte{0x20}, "dropped-short"},
		{"six bytes", right[:6], "dropped-short"},
		{"7-byte response", octets("20 1C C4 2C 04 01 CF"), "dropped-short"},
		{"header checksum wrong", wrongHeader, "dropped-header-checksum"},
		{"body checksum wrong", wrongBody, "dropped-body-checksum"},
		{"length byte left in front", append([]byte{7}, right...), "dropped-header-checksum"},
		{"leading address twice", append([]byte{0x20}, right...), "dropped-header-checksum"},
		{"mctp over smbus", octets("20 0F 09 2D 01 08 09 C8 00"), "dropped-header-checksum"},
		{"a request from an odd address", odd, "dropped-requester"},
		{"a request from address 00h", zero, "dropped-requester"},
		{"a request from ourselves", self, "dropped-requester"},
	} {
		s := new(service)
		story(t, c.name, ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
			w.deliver(c.frame)
			synctest.Wait()
			if n := w.count(c.counter); n != 1 {
				t.Errorf("%s is %d, want 1", c.counter, n)
			}
			if s.count() != 0 || len(w.allWrites()) != 0 {
				t.Errorf("the handler ran %d times, %d frames were written", s.count(), len(w.allWrites()))
			}
			w.hear(from(peer, 4, cmdA))
			if len(w.answers(peer)) != 1 {
				t.Error("the request after it was not answered")
			}
			w.place(me, prompt)
			w.do(ask(me, cmdA)).answered()
		})
	}
}

// Nothing is sent to ourselves: the kernel fails such a write as on a bus that is stuck.
func TestFramesToOurselvesAreRefused(t *testing.T) {
	response := from(own, 1, cmdA).Response(ipmi.CodeOK, nil).Append(nil)
	request, general := ask(own, cmdA), ask(own, ipmi.CommandGetDeviceID)
	general.GeneralCall = true
	unexpected := func(ipmi.Response, error) { panic("it had been refused") }
	for name, send := range map[string]func(w *world) error{
		"a request":      func(w *world) error { return w.engine.Send(ipmb.NewCall(unexpected), &request) },
		"a general call": func(w *world) error { return w.engine.Send(ipmb.NewCall(unexpected), &general) },
		"a response": func(w *world) error {
			return w.engine.StartRespond(response, func(error) { panic("it was written") })
		},
	} {
		story(t, name, ipmb.Config{}, func(t *testing.T, w *world) {
			if err := send(w); !errors.Is(err, ipmb.ErrInvalid) || !strings.Contains(err.Error(), "20h is our own address") {
				t.Errorf("%v", err)
			}
			if len(w.allWrites()) != 0 {
				t.Error("it was written")
			}
		})
	}
}

func TestLongFramesAreServed(t *testing.T) {
	s := new(service)
	story(t, "a request of 239 bytes", ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
		data := bytes.Repeat([]byte{0xA5}, 232)
		w.hear(from(peer, 1, cmdA, data...))
		if s.count() != 1 || !bytes.Equal(s.seen()[0].Data, data) {
			t.Fatal("the handler did not get it whole")
		}
	})
	story(t, "a request of 300 bytes", ipmb.Config{Handler: answering(ipmi.Response{}, nil)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA, make([]byte, 293)...))
		if len(w.answers(peer)) != 1 {
			t.Error("it was not answered")
		}
	})
	storyOn(t, "an answer of 300 bytes", i2c.Limits{MaxFrame: 400}, ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		req := ask(me, cmdA)
		req.Data = bytes.Repeat([]byte{1, 2, 3}, 100)
		w.do(req).answered()
	})
}

// A hundred thousand frames of noise stop nothing, and memory does not grow
// with their number.
func TestNoiseDoesNoHarm(t *testing.T) {
	story(t, "random bytes", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		r := rand.New(rand.NewPCG(3, 4))
		play := func(n int) {
			for range n {
				frame := make([]byte, r.IntN(300))
				for i := range frame {
					frame[i] = byte(r.UintN(256))
				}
				w.deliver(frame)
				if r.IntN(100) == 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
		}
		play(1_000)
		before := heap()
		play(100_000)
		if grown := heap() - before; grown > 4<<20 {
			t.Errorf("memory grew by %d KiB", grown>>10)
		}
		w.place(me, prompt)
		w.do(ask(me, cmdA)).answered()
	})
	story(t, "responses nobody waits for", ipmb.Config{}, func(t *testing.T, w *world) {
		for i := range 1_000 {
			w.deliver(ipmb.Frame{
				Destination: ipmi.Address(i) &^ 1, Source: own, NetFn: ipmi.NetFnApp, Sequence: uint8(i & 63), Command: cmdA,
			}.Response(ipmi.CodeOK, nil).Append(nil))
		}
		synctest.Wait()
		if n := w.count("responses-unexpected") + w.count("dropped-requester"); n < 990 {
			t.Errorf("%d of 1000 were counted", n)
		}
		if len(w.allWrites()) != 0 {
			t.Error("something was written")
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// observer remembers the frames that it got.
type observer struct {
	mu     sync.Mutex
	epoch  time.Time
	frames []ipmb.Frame
	stalls []stall
}

type stall struct {
	at time.Duration
	is bool
}

func (o *observer) received(f ipmb.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.Data = bytes.Clone(f.Data)
	o.frames = append(o.frames, f)
}

func (o *observer) stalled(is bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stalls = append(o.stalls, stall{time.Since(o.epoch), is})
}

func TestReceivedSeesEachValidFrame(t *testing.T) {
	o := new(observer)
	story(t, "requests, answers and what nobody waits for", ipmb.Config{Received: o.received}, func(t *testing.T, w *world) {
		request := from(peer, 9, cmdB, 1, 2, 3)
		lost := ipmb.Frame{Destination: me, Source: own, NetFn: ipmi.NetFnApp, Command: cmdA}.Response(ipmi.CodeNodeBusy, []byte{7})
		w.hear(request)
		w.deliver(octets("20 1C C4 2C 04 01 CF"))
		w.hear(lost)
		if diff := cmp.Diff([]ipmb.Frame{request, lost}, o.frames); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
