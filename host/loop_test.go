package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

// fakePort is a port in the hands of a test.
type fakePort struct {
	requests chan Request
	closed   chan struct{}
	once     sync.Once

	mu      sync.Mutex
	written []any // Response and ipmi.Attention, in order
	err     error // of writes
}

func newFakePort() *fakePort {
	return &fakePort{requests: make(chan Request), closed: make(chan struct{})}
}

func (p *fakePort) Read() (Request, error) {
	select {
	case r := <-p.requests:
		return r, nil
	case <-p.closed:
		return Request{}, io.EOF
	}
}

func (p *fakePort) Write(r Response) (bool, error) {
	r.Data = append([]byte(nil), r.Data...)
	return true, p.write(r)
}
func (p *fakePort) Finish() error                       { return nil }
func (p *fakePort) SetAttention(a ipmi.Attention) error { return p.write(a) }
func (p *fakePort) Limits() Limits {
	return Limits{MaxData: 20, Deadline: 3 * time.Second}
}
func (p *fakePort) Close() error { p.once.Do(func() { close(p.closed) }); return nil }
func (p *fakePort) write(v any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = append(p.written, v)
	return p.err
}

// wrote returns the responses written since its last call.
func (p *fakePort) wrote() []any {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.written
	p.written = nil
	return w
}

// asks sends a request with a tag and data.
func (p *fakePort) asks(tag uint8, data ...byte) {
	p.requests <- Request{Tag: tag, NetFn: ipmi.NetFnApp, Command: 1, Data: data}
	synctest.Wait()
}

func answered(tag uint8, code ipmi.CompletionCode, data ...byte) Response {
	return Response{Tag: tag, NetFn: 7, Command: 1, Code: code, Data: data}
}

// fullPort is a fakePort that leaves some responses to Finish: each of them, or every other.
type fullPort struct {
	*fakePort
	every int
	asked int
	left  *Response
}

func (p *fullPort) Write(r Response) (bool, error) {
	if p.asked++; p.asked%p.every == 0 {
		r.Data = append([]byte(nil), r.Data...)
		p.left = &r
		return false, nil
	}
	return p.fakePort.Write(r)
}

func (p *fullPort) Finish() error {
	r := *p.left
	p.left = nil
	_, err := p.fakePort.Write(r)
	return err
}

// ports are the kinds of them.
var ports = map[string]func(*fakePort) Port{
	"":                 func(p *fakePort) Port { return p },
	", full":           func(p *fakePort) Port { return &fullPort{fakePort: p, every: 1} },
	", full sometimes": func(p *fakePort) Port { return &fullPort{fakePort: p, every: 2} },
}

// story runs tell with a loop on a fake port of each kind, in virtual time.
func story(t *testing.T, name string, h ipmi.Handler, tell func(t *testing.T, l *Loop, p *fakePort, a *ipmi.Attention)) {
	t.Helper()
	for kind, port := range ports {
		t.Run(name+kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attention ipmi.Attention
				l := NewLoop(Config{Interface: "host0", Channel: 15, Handler: h, Attention: func() ipmi.Attention { return attention }})
				p := newFakePort()
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- l.Run(ctx, port(p)) }()
				if diff := cmp.Diff([]any{ipmi.Attention{}}, p.wrote()); diff != "" {
					t.Error(diff)
				}
				tell(t, l, p, &attention)
				stop()
				<-ended
				select {
				case <-p.closed:
				default:
					t.Error("the port is open")
				}
			})
		})
	}
}

// echo answers with the data.
var echo = ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
	return ipmi.Response{Data: req.Data}, nil
})

// slow answers with the data after as many seconds as they say; after 0 at once.
var slow = ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
	answer := func() { reply.Answer(ipmi.Response{Data: req.Data}, nil) }
	if req.Data[0] == 0 {
		answer()
		return
	}
	time.AfterFunc(time.Duration(req.Data[0])*time.Second, answer)
})

func TestLoop(t *testing.T) {
	story(t, "one answer for each request", echo, func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(7, 1, 2)
		p.asks(8, 3)
		if diff := cmp.Diff([]any{answered(7, 0, 1, 2), answered(8, 0, 3)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "in order, though the first is slow", slow, func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		for tag, seconds := range []byte{1, 0, 1} {
			p.asks(uint8(tag), seconds)
		}
		if w := p.wrote(); len(w) > 0 {
			t.Errorf("at once: %v", w)
		}
		time.Sleep(4 * time.Second)
		if diff := cmp.Diff([]any{answered(0, 0, 1), answered(1, 0, 0), answered(2, 0, 1)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "too slow is C3h in time, and the late answer reaches nobody", slow, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(1, 10)
		time.Sleep(3 * time.Second)
		if diff := cmp.Diff([]any{answered(1, ipmi.CodeTimeout)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
		p.asks(1, 0)
		if diff := cmp.Diff([]any{answered(1, 0, 0)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Minute)
		if w := p.wrote(); len(w) > 0 || l.Statistics()["handler-answers-late"] != 1 {
			t.Errorf("later: %v, %v", w, l.Statistics())
		}
	})
	story(t, "in the host's time, which runs while others are served", slow, func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		for tag, seconds := range []byte{2, 2, 0} {
			p.asks(uint8(tag), seconds)
		}
		time.Sleep(3 * time.Second)
		if diff := cmp.Diff([]any{answered(0, 0, 2), answered(1, ipmi.CodeTimeout), answered(2, ipmi.CodeTimeout)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "busy when too many handlers are late", slow, func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		for tag := range uint8(maxLate) {
			p.asks(tag, 200)
			time.Sleep(3 * time.Second)
		}
		p.wrote()
		p.asks(99, 0)
		if diff := cmp.Diff([]any{answered(99, ipmi.CodeNodeBusy)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(300 * time.Second)
		p.asks(100, 0)
		if diff := cmp.Diff([]any{answered(100, 0, 0)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "an answer too long", echo, func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(1, make([]byte, 21)...)
		if diff := cmp.Diff([]any{answered(1, ipmi.CodeNoResponse)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "what the handler's error says", ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{}, ipmi.ErrNoHandler
	}), func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(1)
		if diff := cmp.Diff([]any{answered(1, ipmi.CodeInvalidCommand)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "a panic", ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { panic("it broke") }),
		func(t *testing.T, _ *Loop, p *fakePort, _ *ipmi.Attention) {
			p.asks(1)
			if diff := cmp.Diff([]any{answered(1, ipmi.CodeUnspecified)}, p.wrote()); diff != "" {
				t.Error(diff)
			}
		})
	story(t, "more than waits is dropped", slow, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		for tag := range uint8(maxQueued + 4) {
			p.asks(tag, 1)
		}
		time.Sleep(time.Hour)
		if w := p.wrote(); len(w) != maxQueued+1 || l.Statistics()["requests-dropped"] != 3 {
			t.Errorf("%d answers, %v", len(w), l.Statistics())
		}
	})
}

// TestLoopHasADeadlineOfItsOwn: a request is answered C3h at the deadline of the configuration,
// whether that is before the port's or after it.
func TestLoopHasADeadlineOfItsOwn(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 14 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := newFakePort()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			l := NewLoop(Config{Handler: slow, Deadline: limit})
			go func() { ended <- l.Run(ctx, p) }()
			p.wrote()
			p.asks(1, 200)
			time.Sleep(limit - time.Nanosecond)
			if w := p.wrote(); len(w) > 0 {
				t.Errorf("before %v: %v", limit, w)
			}
			time.Sleep(time.Nanosecond)
			if diff := cmp.Diff([]any{answered(1, ipmi.CodeTimeout)}, p.wrote()); diff != "" {
				t.Errorf("%v: %s", limit, diff)
			}
			stop()
			<-ended
		})
	}
}

func TestLoopShowsTheAttention(t *testing.T) {
	story(t, "when it changes, and before the answer", echo, func(t *testing.T, l *Loop, p *fakePort, a *ipmi.Attention) {
		*a = ipmi.Attention{Raised: true}
		l.AttentionChanged()
		l.AttentionChanged()
		if diff := cmp.Diff([]any{ipmi.Attention{Raised: true}}, p.wrote()); diff != "" {
			t.Error(diff)
		}
		*a = ipmi.Attention{}
		p.asks(1)
		if diff := cmp.Diff([]any{ipmi.Attention{}, answered(1, 0)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLoopReadsOnBehindASlowHandler(t *testing.T) {
	story(t, "at once", slow, func(t *testing.T, _ *Loop, p *fakePort, a *ipmi.Attention) {
		begin := time.Now()
		p.asks(0, 2)
		p.asks(1, 0)
		if took := time.Since(begin); took != 0 {
			t.Errorf("read after %v", took)
		}
		time.Sleep(2 * time.Second)
		if diff := cmp.Diff([]any{answered(0, 0, 2), answered(1, 0, 0)}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "again and again, and at once in between", slow, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		for n := range byte(100) {
			p.asks(n, n%2)
			time.Sleep(2 * time.Second)
			if diff := cmp.Diff([]any{answered(n, 0, n%2)}, p.wrote()); diff != "" {
				t.Fatal(diff)
			}
		}
		if n := l.Statistics()["answers-written"]; n != 100 {
			t.Errorf("%d answers", n)
		}
	})
	story(t, "and shows the attention meanwhile", slow, func(t *testing.T, l *Loop, p *fakePort, a *ipmi.Attention) {
		p.asks(0, 1)
		*a = ipmi.Attention{Raised: true}
		l.AttentionChanged()
		if diff := cmp.Diff([]any{ipmi.Attention{Raised: true}}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
	story(t, "and does what else is to be done", slow, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(0, 1)
		if err := l.Do(t.Context(), func(p Port) error { return p.SetAttention(ipmi.Attention{Raised: true}) }); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]any{ipmi.Attention{Raised: true}}, p.wrote()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLoopEndsWhileARequestIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop(Config{Handler: slow})
		p := newFakePort()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, p) }()
		p.asks(1, 200)
		begin := time.Now()
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begin) != 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		p.wrote()
		time.Sleep(200 * time.Second)
		if w := p.wrote(); len(w) > 0 || l.Statistics()["handler-answers-late"] != 1 {
			t.Errorf("later: %v, %v", w, l.Statistics())
		}
	})
}

// TestLoopTellsHowRequestsEnded: those that the handler had, and nothing of the others.
func TestLoopTellsHowRequestsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		l := NewLoop(Config{
			Interface: "host0",
			Handler: ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
				switch req.Data[0] {
				case 0xC1:
					reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
				case 0xC3:
				default:
					reply.Answer(ipmi.Response{Code: ipmi.CompletionCode(req.Data[0])}, nil)
				}
			}),
			Served: func(req *ipmi.Request, code ipmi.CompletionCode, err error) {
				told = append(told, fmt.Sprintf("%s %02X %02X %v", req.Interface, req.Data, uint8(code), err))
			},
		})
		p := newFakePort()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, p) }()
		for n, code := range []byte{0x00, 0xCC, 0xC1, 0xC3, 0x00} { // the last has waited too long
			p.asks(uint8(n), code)
		}
		time.Sleep(3 * time.Second)
		p.wrote()
		want := []string{
			"host0 00 00 <nil>", "host0 CC CC <nil>",
			"host0 C1 C1 " + ipmi.ErrNoHandler.Error(), "host0 C3 C3 " + ipmi.ErrTooSlow.Error(),
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
		stop()
		<-ended
	})
}

// TestLoopCallsTheHandlerInOrder: one call after the other, in the order of the requests, with
// answers from any goroutines.
func TestLoopCallsTheHandlerInOrder(t *testing.T) {
	for kind, port := range ports {
		t.Run("port"+kind, func(t *testing.T) {
			const count = 3000
			var calls, order []byte
			var inside atomic.Int32
			var answering sync.WaitGroup
			l := NewLoop(Config{Handler: ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
				if inside.Add(1) != 1 {
					t.Error("two calls at a time")
				}
				calls = append(calls, req.Data[0])
				if req.Data[0]%3 == 0 {
					reply.Answer(ipmi.Response{}, nil)
				} else {
					answering.Go(func() { reply.Answer(ipmi.Response{}, nil) })
				}
				inside.Add(-1)
			})})
			p := newFakePort()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx, port(p)) }()
			for n := range count {
				p.requests <- Request{Tag: uint8(n), Data: []byte{byte(n)}}
				for n%10 == 9 && l.Statistics()["answers-written"] <= uint64(n) {
					runtime.Gosched()
				}
			}
			answering.Wait()
			stop()
			<-ended
			for _, w := range p.written {
				if r, ok := w.(Response); ok {
					order = append(order, r.Tag)
				}
			}
			for n := range count {
				if calls[n] != byte(n) || order[n] != byte(n) {
					t.Fatalf("call %d is %d, answer %d", n, calls[n], order[n])
				}
			}
		})
	}
}

func TestLoopEndsWithItsPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop(Config{Handler: slow})
		p := newFakePort()
		ended := make(chan error, 1)
		go func() { ended <- l.Run(t.Context(), p) }()
		p.asks(1, 200)
		p.Close()
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		broken := newFakePort()
		broken.err = io.ErrShortWrite
		if err := l.Run(t.Context(), broken); !errors.Is(err, io.ErrShortWrite) {
			t.Error(err)
		}
	})
}

// eager is a port that notes the first operation.
type eager struct {
	*fakePort
	first chan string // has room
}

func (p eager) note(what string) {
	select {
	case p.first <- what:
	default:
	}
}

func (p eager) Read() (Request, error) { p.note("read"); return p.fakePort.Read() }
func (p eager) SetAttention(a ipmi.Attention) error {
	p.note("shown")
	return p.fakePort.SetAttention(a)
}

// TestHostIsShownTheAttentionBeforeItAsks: on a machine's socket the greeting comes with the
// attention, before any answer.
func TestHostIsShownTheAttentionBeforeItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop(Config{Handler: echo, Attention: func() ipmi.Attention {
			time.Sleep(time.Second) // in which the reader has begun
			return ipmi.Attention{}
		}})
		p := eager{newFakePort(), make(chan string, 1)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, p) }()
		if first := <-p.first; first != "shown" {
			t.Errorf("first: %s", first)
		}
		stop()
		<-ended
	})
}
