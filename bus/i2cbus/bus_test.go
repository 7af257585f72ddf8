package i2cbus

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestBusThatCannotBeOpenedIsTriedEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		b, told := newTestBus(func() (i2c.Transport, string, error) {
			at = append(at, time.Since(begin))
			return nil, "ipmb-dev", &i2c.OpError{Op: "open", Device: "/dev/ipmb-5", Err: fs.ErrNotExist}
		})
		stop := runBus(t, b)
		time.Sleep(12 * time.Second)
		stop()
		if diff := cmp.Diff(ms(0, 100, 300, 700, 1500, 3100, 6300, 11300), at); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]bus.State{bus.Down}, told.states()); diff != "" {
			t.Error("the same state told again: " + diff)
		}
		p := b.Properties()
		if p.State != bus.Down || !strings.Contains(p.Reason, "/dev/ipmb-5") {
			t.Errorf("%s: %q", p.State, p.Reason)
		}
	})
}

func TestBusThatEndsIsDownAndOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []*line
		b, told := newTestBus(func() (i2c.Transport, string, error) {
			lines = append(lines, newLine())
			return lines[len(lines)-1], "seqpacket", nil
		})
		stop := runBus(t, b)
		call := make(chan error, 1)
		go func() {
			_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
			call <- err
		}()
		synctest.Wait()

		begin := time.Now()
		close(lines[0].over)
		if err := <-call; !errors.Is(err, ipmb.ErrClosed) {
			t.Errorf("a call under way: %v", err)
		}
		synctest.Wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it ended after %v", took)
		}
		if p := b.Properties(); p.State != bus.Down || !strings.HasPrefix(p.Reason, "/dev/ipmb-5: end of file") {
			t.Errorf("%s: %q", p.State, p.Reason)
		}
		if _, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}); !errors.Is(err, ipmb.ErrClosed) {
			t.Errorf("a call while it is down: %v", err)
		}
		time.Sleep(bus.FirstRetry)
		synctest.Wait()
		if len(lines) != 2 || b.Properties().State != bus.Up || b.Properties().Reason != "" {
			t.Errorf("opened %d times, %+v", len(lines), b.Properties())
		}
		stop()
		<-lines[0].closed
		<-lines[1].closed
		if diff := cmp.Diff([]bus.State{bus.Up, bus.Down, bus.Up}, told.states()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBusThatIsNeverRunIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		b, _ := onLine(l)
		runBus(t, b)()
		<-l.closed
		l = newLine()
		b, _ = onLine(l)
		b.Open(t.Context())
		b.Run(ended())
		<-l.closed
	})
}

func TestStatisticsOutliveATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []*line
		b, _ := newTestBus(func() (i2c.Transport, string, error) {
			l := newLine()
			l.count = map[string]uint64{"dropped-oversized": 2}
			lines = append(lines, l)
			return l, "seqpacket", nil
		})
		stop := runBus(t, b)
		defer stop()
		for n := uint64(1); n <= 3; n++ {
			if got := b.Statistics()["dropped-oversized"]; got != 2*n {
				t.Errorf("%d transports: %d, want %d", n, got, 2*n)
			}
			close(lines[n-1].over)
			synctest.Wait()
			if got := b.Statistics()["dropped-oversized"]; got != 2*n {
				t.Errorf("%d transports that have ended: %d, want %d", n, got, 2*n)
			}
			time.Sleep(bus.LastRetry)
			synctest.Wait()
		}
		if _, ok := b.Statistics()["calls-started"]; !ok {
			t.Error("the engine's counters are missing")
		}
	})
}

func TestStalledWriteTakesTheBusDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, release := newLine(), make(chan struct{})
		l.write = func([]byte) error {
			<-release
			return nil
		}
		b, told := onLine(l)
		stop := runBus(t, b)
		defer stop()
		go func() { _, _ = b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}) }()
		time.Sleep(ipmb.StallTime - time.Millisecond)
		synctest.Wait()
		if got := b.Properties().State; got != bus.Up {
			t.Errorf("%s before it counts as stalled", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Down || !strings.Contains(p.Reason, "a write has been in the kernel for 2s") {
			t.Errorf("%s: %q", p.State, p.Reason)
		}
		close(release)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Up || p.Reason != "" {
			t.Errorf("%s: %q", p.State, p.Reason)
		}
		if diff := cmp.Diff([]bus.State{bus.Up, bus.Down, bus.Up}, told.states()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestStalledBusThatEndsIsNotUpMeanwhile: the write returns because the
// transport has gone, not because the bus works.
func TestStalledBusThatEndsIsNotUpMeanwhile(t *testing.T) {
	for name, first := range map[string]func(l *line, release chan struct{}){
		"the reader sees it first": func(l *line, release chan struct{}) { close(l.over) },
		"the writer sees it first": func(l *line, release chan struct{}) { close(release) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, release := newLine(), make(chan struct{})
				l.write = func([]byte) error {
					select {
					case <-release:
					case <-l.closed:
					}
					return i2c.ErrClosed
				}
				opened := false
				b, told := newTestBus(func() (i2c.Transport, string, error) {
					if opened {
						return nil, "seqpacket", fs.ErrNotExist
					}
					opened = true
					return l, "seqpacket", nil
				})
				stop := runBus(t, b)
				defer stop()
				go func() { _, _ = b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}) }()
				time.Sleep(ipmb.StallTime)
				synctest.Wait()
				first(l, release)
				synctest.Wait()
				select {
				case <-l.over:
				default:
					close(l.over)
				}
				synctest.Wait()
				const up, down = bus.Up, bus.Down
				if diff := cmp.Diff([]bus.State{up, down, down}, told.states()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRequestWithoutResponderGoesToTheRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var destinations []byte
		l := newLine()
		l.write = func(frame []byte) error {
			destinations = append(destinations, frame[0])
			return i2c.ErrNotAcknowledged
		}
		b, _ := onLine(l)
		stop := runBus(t, b)
		defer stop()
		for _, to := range []ipmi.Address{0, 0x42} {
			req := ipmb.Request{Responder: to, NetFn: ipmi.NetFnApp, FailFast: true}
			if _, err := b.Do(t.Context(), req); !errors.Is(err, ipmb.ErrNotAcknowledged) {
				t.Errorf("%v: %v", to, err)
			}
		}
		if diff := cmp.Diff([]byte{0x2C, 0x2C, 0x42, 0x42}, destinations); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPropertiesAreTheConfigurations(t *testing.T) {
	b, _ := onLine(newLine())
	want := bus.Properties{
		Name: "bus5", Device: "/dev/ipmb-5", Transport: "auto", Channel: 1, Index: 1,
		OwnAddress: 0x20, RemoteAddress: 0x2C, State: bus.Down, Reason: "not opened yet", Handler: "host",
		Policy: ipmb.RetryPolicy{Tries: 6, Timeout: 250 * time.Millisecond},
	}
	if diff := cmp.Diff(want, b.Properties()); diff != "" {
		t.Error(diff)
	}
	b.Open(t.Context())
	b.SetRetryPolicy(ipmb.RetryPolicy{Tries: 2})
	want.Transport, want.State, want.Reason, want.Policy.Tries = "seqpacket", bus.Up, "", 2
	if diff := cmp.Diff(want, b.Properties()); diff != "" {
		t.Error(diff)
	}
}

func TestBusTakesCallsWhenItHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onLine(newLine())
		ctx, stop := context.WithCancel(t.Context())
		b.Open(ctx)
		ended := make(chan struct{})
		go func() { b.Run(ctx); close(ended) }()
		<-b.Begun()
		if _, err := b.Do(ctx, ipmb.Request{NetFn: ipmi.NetFnApp, RetryPolicy: ipmb.RetryPolicy{Tries: 1}}); !errors.Is(err, ipmb.ErrTimeout) {
			t.Error(err)
		}
		stop()
		<-ended
	})
}

// The call that starts the service comes when the names are taken.
func TestCallWaitsUntilTheBusHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onLine(newLine())
		b.Open(t.Context())
		ends := make(chan error, 2)
		go func() {
			_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, RetryPolicy: ipmb.RetryPolicy{Tries: 1}})
			ends <- err
		}()
		impatient, stop := context.WithCancel(t.Context())
		go func() {
			_, err := b.Do(impatient, ipmb.Request{NetFn: ipmi.NetFnApp})
			ends <- err
		}()
		synctest.Wait()
		stop()
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Errorf("a call that waits no longer: %v", err)
		}
		defer runBus(t, b)()
		if err := <-ends; !errors.Is(err, ipmb.ErrTimeout) {
			t.Errorf("a call that has waited: %v", err)
		}
	})
}

func TestBusThatIsDownHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newTestBus(func() (i2c.Transport, string, error) { return nil, "ipmb-dev", fs.ErrNotExist })
		defer runBus(t, b)()
		<-b.Begun()
	})
}

func TestCallToABusThatIsAboutToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onLine(newLine())
		b.Open(t.Context())
		call := make(chan error, 1)
		go func() {
			_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, RetryPolicy: ipmb.RetryPolicy{Tries: 1}})
			call <- err
		}()
		synctest.Wait()
		stop := runBus(t, b)
		if err := <-call; !errors.Is(err, ipmb.ErrTimeout) {
			t.Errorf("it ended with %v, and the responder is silent", err)
		}
		stop()
		if _, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}); !errors.Is(err, ipmb.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		never, _ := onLine(newLine())
		waits, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := never.Do(waits, ipmb.Request{NetFn: ipmi.NetFnApp}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("to one that never begins: %v", err)
		}
	})
}

func TestDeviceOfABusThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.appear(ipmbDev5)
		b, _ := newBusOn(m, testConfig(), false)
		runBus(t, b)()
		for name, change := range map[string]func(context.Context) error{
			"Bind":          b.Bind,
			"Unbind":        b.Unbind,
			"SetOwnAddress": func(ctx context.Context) error { return b.SetOwnAddress(ctx, 0x22) },
		} {
			if err := change(t.Context()); !errors.Is(err, ipmb.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
