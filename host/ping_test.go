package host

import (
	"context"
	"testing"
	"testing/synctest"

	"ipmbd/ipmi"
)

func TestPingOfALoop(t *testing.T) {
	// back is closed when a ping has come back.
	startPing := func(ctx context.Context, l *Loop) (back chan struct{}) {
		back = make(chan struct{})
		go func() {
			defer close(back)
			l.Ping(ctx)
		}()
		synctest.Wait()
		return back
	}
	is := func(t *testing.T, what string, back chan struct{}, want bool) {
		t.Helper()
		got := false
		select {
		case <-back:
			got = true
		default:
		}
		if got != want {
			t.Errorf("%s: came back: %v", what, got)
		}
	}
	story(t, "comes back from a loop that waits", echo, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		is(t, "idle", startPing(t.Context(), l), true)
	})
	story(t, "comes back while a handler is slow", slow, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		p.asks(1, 2)
		is(t, "slow handler", startPing(t.Context(), l), true)
	})
	story(t, "hangs with the loop", echo, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		free := make(chan struct{})
		go func() { _ = l.Do(t.Context(), func(Port) error { <-free; return nil }) }()
		synctest.Wait()
		back := startPing(t.Context(), l)
		is(t, "stuck", back, false)
		close(free)
		synctest.Wait()
		is(t, "free", back, true)
	})
	story(t, "ends with its context and with the port", echo, func(t *testing.T, l *Loop, p *fakePort, _ *ipmi.Attention) {
		free := make(chan struct{})
		go func() { _ = l.Do(t.Context(), func(Port) error { <-free; return nil }) }()
		synctest.Wait()
		ctx, stop := context.WithCancel(t.Context())
		back, other := startPing(ctx, l), startPing(t.Context(), l)
		stop()
		synctest.Wait()
		is(t, "with its context", back, true)
		p.Close()
		close(free)
		synctest.Wait()
		is(t, "with the port", other, true)
	})
	t.Run("comes back without a port", func(t *testing.T) {
		NewLoop(Config{}).Ping(t.Context())
	})
}
