package bridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

// fan is an event of the node about its fan.
var fan = octets("04 01 30 01 57 60 5F")

// reports is a Platform Event of the node and the code it is answered with.
func (s *segment) reports(t *testing.T, sequence uint8) ipmi.CompletionCode {
	t.Helper()
	return s.asks(t, sequence, ipmi.NetFnSensor, ipmi.CommandPlatformEvent, fan...).Code
}

func TestPlatformEvent(t *testing.T) {
	story(t, "is in the log, in the buffer and published", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C) // buffer and logging
		if code := w.bus0.reports(t, 1); code != ipmi.CodeOK {
			t.Fatal(code)
		}
		want := ipmi.Event{Interface: "bus0", Generator: 0x0030, Message: [7]byte(fan)}
		if len(w.log.events) != 1 || w.log.events[0] != want || len(w.published) != 1 || w.published[0] != want {
			t.Errorf("logged %v, published %v, want %v", w.log.events, w.published, want)
		}
		is(t, "flags", w.flags(), "00 02")
		got := w.asks(ipmi.NetFnApp, 0x35)
		is(t, "code, record ID and type", got[:4], "00 FF FF 02")
		is(t, "generator and message", got[8:], "30 00 04 01 30 01 57 60 5F")
		is(t, "flags", w.flags(), "00 00")
		is(t, "Read Event Message Buffer", w.asks(ipmi.NetFnApp, 0x35), "80")
	})

	story(t, "the buffer's time is the log's", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		w.ahead = -10 * 365 * 24 * time.Hour // as Set SEL Time has it
		w.bus0.reports(t, 1)
		want := binary.LittleEndian.AppendUint32(nil, uint32(time.Now().Add(w.ahead).Unix()))
		if got := w.asks(ipmi.NetFnApp, 0x35); !bytes.Equal(got[4:8], want) {
			t.Errorf("% X, want the time % X", got, want)
		}
	})

	story(t, "a repeat is answered again and logged once", func(t *testing.T, w *world) {
		for range 3 {
			if code := w.bus0.reports(t, 1); code != ipmi.CodeOK {
				t.Error(code)
			}
		}
		w.bus0.reports(t, 2)
		if len(w.log.events) != 2 || len(w.published) != 2 {
			t.Errorf("logged %v, published %v", w.log.events, w.published)
		}
	})

	story(t, "no buffer without its enable", func(t *testing.T, w *world) {
		w.bus0.reports(t, 1)
		is(t, "flags", w.flags(), "00 00")
		is(t, "Read Event Message Buffer", w.asks(ipmi.NetFnApp, 0x35), "80")
	})

	story(t, "22.4: a disabled buffer has no flag", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		w.bus0.reports(t, 1)
		is(t, "enabled", w.flags(), "00 02")
		is(t, "disable", w.asks(ipmi.NetFnApp, 0x2E, 0x08), "00")
		is(t, "disabled", w.flags(), "00 00")
		is(t, "enable", w.asks(ipmi.NetFnApp, 0x2E, 0x0C), "00")
		is(t, "enabled again", w.flags(), "00 02")
	})

	story(t, "the host turns logging off, but not for its own", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x00)
		if code := w.bus0.reports(t, 1); code != ipmi.CodeOK || len(w.log.events) != 0 || len(w.published) != 1 {
			t.Errorf("%v, logged %v", code, w.log.events)
		}
		is(t, "the host's own", w.asks(ipmi.NetFnSensor, 0x02, append([]byte{0x41}, fan...)...), "00")
		if len(w.log.events) != 1 || w.log.events[0].Generator != 0x0041 {
			t.Errorf("logged %v", w.log.events)
		}
	})

	story(t, "what the log does not take is not acknowledged", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		for err, want := range map[error]ipmi.CompletionCode{
			ipmi.ErrNoSpace:    ipmi.CodeOutOfSpace,
			errors.New("wood"): ipmi.CodeUnspecified,
		} {
			w.log.err = err
			if code := w.bus0.reports(t, uint8(want)&0x3F); code != want {
				t.Errorf("%v: %v, want %v", err, code, want)
			}
		}
		w.log.err, w.log.slow = nil, 8*time.Second
		if code := w.bus0.reports(t, 9); code != ipmi.CodeTimeout {
			t.Errorf("a slow log: %v", code)
		}
		is(t, "flags", w.flags(), "00 00")
		if len(w.published) != 0 {
			t.Errorf("published %v", w.published)
		}
	})

	story(t, "the buffer is bounded, the log has all", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		for n := range maxEvents + 4 {
			w.bus0.reports(t, uint8(n))
		}
		for range maxEvents {
			if got := w.asks(ipmi.NetFnApp, 0x35); len(got) != 17 {
				t.Fatalf("Read Event Message Buffer: % X", got)
			}
		}
		is(t, "Read Event Message Buffer", w.asks(ipmi.NetFnApp, 0x35), "80")
		if len(w.log.events) != maxEvents+4 || w.host.Statistics()["events-not-buffered"] != 4 {
			t.Errorf("%d logged, counted %v", len(w.log.events), w.host.Statistics())
		}
	})

	story(t, "cleared with its flag", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		w.bus0.reports(t, 1)
		is(t, "Clear Message Flags", w.asks(ipmi.NetFnApp, 0x30, 0x02), "00")
		is(t, "flags", w.flags(), "00 00")
		is(t, "Read Event Message Buffer", w.asks(ipmi.NetFnApp, 0x35), "80")
	})
}

// On a channel that is not bridged its own handler comes first.
func TestPlatformEventOnOtherChannels(t *testing.T) {
	event := func() *ipmi.Request {
		return &ipmi.Request{
			Interface: "bus1", Channel: 1, Requester: node, NetFn: ipmi.NetFnSensor, Command: ipmi.CommandPlatformEvent, Data: fan,
		}
	}
	for _, c := range []struct {
		name      string
		answer    ipmi.Response
		err       error
		want      ipmi.CompletionCode
		wantErr   error
		logged    int
		published int
	}{
		{"served by nobody", ipmi.Response{}, ipmi.ErrNoHandler, ipmi.CodeOK, nil, 1, 1},
		{"its handler is absent", ipmi.Response{}, ipmi.ErrNotPresent, ipmi.CodeOK, nil, 1, 1},
		{"its handler does not know events", ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil, ipmi.CodeOK, nil, 1, 1},
		{"its handler takes it", ipmi.Response{}, nil, ipmi.CodeOK, nil, 0, 1},
		{"its handler refuses it", ipmi.Response{Code: ipmi.CodeInvalidField}, nil, ipmi.CodeInvalidField, nil, 0, 0},
		{"its handler is busy", ipmi.Response{}, ipmi.ErrBusy, ipmi.CodeOK, ipmi.ErrBusy, 0, 0},
		{"its handler dies", ipmi.Response{}, ipmi.ErrAbandoned, ipmi.CodeOK, ipmi.ErrAbandoned, 0, 0},
	} {
		story(t, c.name, func(t *testing.T, w *world) {
			h := w.bus1.Handler(ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return c.answer, c.err }))
			got, err := ipmi.Do(t.Context(), h, event())
			synctest.Wait() // The bridge publishes an event after its answer.
			if got.Code != c.want || !errors.Is(err, c.wantErr) || len(w.log.events) != c.logged || len(w.published) != c.published {
				t.Errorf("%v, %v; logged %v, published %v", got, err, w.log.events, w.published)
			}
		})
	}
}

func TestEventReceiver(t *testing.T) {
	story(t, "is set and read", func(t *testing.T, w *world) {
		receiver := func(data ...byte) []byte { return w.asks(ipmi.NetFnSensor, 0x00, data...) }
		get := func() []byte { return w.asks(ipmi.NetFnSensor, 0x01) }
		rearmed := 0
		w.bridge.config.Rearm = func() { rearmed++ }
		is(t, "at first", get(), "00 20 00")
		is(t, "set", receiver(0x2C, 0x01), "00")
		is(t, "read", get(), "00 2C 01")
		is(t, "off", receiver(0xFF, 0x00), "00")
		is(t, "read", get(), "00 FF 00")
		is(t, "an odd address", receiver(0x21, 0x00), "CC")
		is(t, "a LUN over 3", receiver(0x20, 0x04), "CC")
		is(t, "too short", receiver(0x20), "C7")
		if rearmed != 2 {
			t.Errorf("29.1: sensors are rearmed %d times, want 2: with each receiver that was set", rearmed)
		}
	})
}

// What a host has set is not another's, and turns off our own events about it only.
func TestEventReceiverOfEachHost(t *testing.T) {
	story(t, "events are turned off for one host", func(t *testing.T, w *world) {
		other := w.bridge.NewInterface(InterfaceConfig{Name: "host1", Channel: ipmi.ChannelSystemInterface, Host: 1, Bridged: true})
		w.bridge.Add(other, nil)
		ofOther := func() []byte {
			req := &ipmi.Request{Interface: "host1", Channel: ipmi.ChannelSystemInterface, NetFn: ipmi.NetFnSensor, Command: 0x01}
			response, err := ipmi.Do(t.Context(), other.Handler(nobody), req)
			if err != nil {
				t.Fatal(err)
			}
			return append([]byte{byte(response.Code)}, response.Data...)
		}
		expiry := ipmi.Event{Generator: 0x0020, Message: [7]byte{4, 0x23, 0, 0x6F, 1, 0xFF, 0xFF}}
		report := func(i *Interface, logged int) {
			t.Helper()
			if err := i.Report(t.Context(), expiry); err != nil || len(w.log.events) != logged || len(w.published) != logged {
				t.Errorf("%v, logged %v, published %v", err, w.log.events, w.published)
			}
		}
		is(t, "off", w.asks(ipmi.NetFnSensor, 0x00, 0xFF, 0x00), "00")
		is(t, "the other host's", ofOther(), "00 20 00")
		report(w.host, 0)
		report(w.bus0.Interface, 0) // of the same host
		report(other, 1)
		if code := w.bus0.reports(t, 1); code != ipmi.CodeOK || len(w.log.events) != 2 {
			t.Errorf("a node's: %v, logged %v", code, w.log.events)
		}
		if n := w.host.Statistics()["events-turned-off"]; n != 1 {
			t.Errorf("%d are counted", n)
		}
		is(t, "on again", w.asks(ipmi.NetFnSensor, 0x00, 0x20, 0x00), "00")
		report(w.host, 3)
	})

	story(t, "forgotten with the host's last interface", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnSensor, 0x00, 0xFF, 0x00)
		all := []*Interface{w.host, w.bus0.Interface, w.bus1.Interface}
		for _, i := range all {
			is(t, "while there is one", w.asks(ipmi.NetFnSensor, 0x01), "00 FF 00")
			w.bridge.Remove(i)
		}
		is(t, "for its successor", w.asks(ipmi.NetFnSensor, 0x01), "00 20 00")
	})
}

// TestEventsShareABlocking: they keep their order with the other requests that it serves of their
// interface, and it outlives the bridge.
func TestEventsShareABlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, log := ipmi.NewBlocking(nil), new(fakeLog)
		b := New(Config{Log: log, Blocking: shared})
		i := b.NewInterface(InterfaceConfig{Name: "host0", Bridged: true})
		b.Add(i, nil)
		a, free := new(answers), make(chan struct{})
		shared.Queue(func(context.Context, *ipmi.Request) (ipmi.Response, error) {
			<-free
			return ipmi.Response{Code: 0x55}, nil
		}, &ipmi.Request{Interface: "host0"}, a)
		ipmi.Serve(i.Handler(nobody), &ipmi.Request{
			Interface: "host0", NetFn: ipmi.NetFnSensor, Command: ipmi.CommandPlatformEvent, Data: append([]byte{0x41}, fan...),
		}, a)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		b.Run(ctx)
		a.expect(t, "meanwhile")
		close(free)
		a.expect(t, "then", "55", "00")
		if len(log.events) != 1 {
			t.Errorf("logged %v", log.events)
		}
		shared.Close()
	})
}

func TestEventOfOurOwn(t *testing.T) {
	story(t, "goes the way of all others", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		e := ipmi.Event{Interface: "host0", Generator: 0x0020, Message: [7]byte{4, 0x23, 0, 0x6F, 1, 0xFF, 0xFF}}
		if err := w.host.Report(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		is(t, "flags", w.flags(), "00 02")
		w.log.err = ipmi.ErrNoSpace
		if err := w.host.Report(t.Context(), e); !errors.Is(err, ipmi.ErrNoSpace) {
			t.Error(err)
		}
		if len(w.log.events) != 1 || len(w.published) != 1 {
			t.Errorf("logged %v, published %v", w.log.events, w.published)
		}
	})
}
