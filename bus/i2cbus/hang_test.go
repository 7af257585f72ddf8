package i2cbus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// hungLine is a line of which one call does not return from the kernel before it is released.
type hungLine struct {
	*line
	where   string
	release chan struct{}
}

func (l hungLine) hang(where string) {
	if l.where == where {
		<-l.release
	}
}

func (l hungLine) WriteFrame(frame []byte) error {
	l.hang("a write")
	return l.line.WriteFrame(frame)
}

func (l hungLine) ReadFrames(b *i2c.Batch) error {
	err := l.line.ReadFrames(b)
	l.hang("a read")
	return err
}

func (l hungLine) Close() error {
	err := l.line.Close()
	l.hang("the close")
	return err
}

// The kernel tears the device from under the open descriptor, or a client has it unbound, or the
// daemon stops, while a call on the device hangs. Requests end at once, the state says so, changes
// are refused, and the bus ends when it should. When the kernel returns, the bus is opened again.
func TestDeviceThatHangsAtItsEnd(t *testing.T) {
	const patience = 3 * time.Second
	ends := map[string]func(t *testing.T, b *bus.Bus, l hungLine){
		"torn away": func(_ *testing.T, _ *bus.Bus, l hungLine) { close(l.over) },
		"unbound": func(t *testing.T, b *bus.Bus, _ hungLine) {
			if err := b.Unbind(t.Context()); !errors.Is(err, bus.ErrDevice) {
				t.Errorf("unbind: %v", err)
			}
		},
	}
	for _, where := range []string{"a write", "a read", "the close"} {
		for how, end := range ends {
			if where == "a read" && how == "torn away" {
				continue // While it hangs, nothing says that the device has gone.
			}
			t.Run(how+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMachine()
					first, next := hungLine{newLine(), where, make(chan struct{})}, newLine()
					opened := 0
					m.opener = func() (i2c.Transport, string, error) {
						opened++
						if opened == 1 {
							return first, i2c.IPMBDev, nil
						}
						return next, i2c.IPMBDev, nil
					}
					m.device = ipmbDev5
					b, _ := newBusOn(m, testConfig(), false)
					stop := runBus(t, b)
					begin, call := time.Now(), make(chan error, 1)
					go func() {
						_, err := b.Do(context.Background(), ipmb.Request{NetFn: ipmi.NetFnApp})
						call <- err
					}()
					synctest.Wait()
					end(t, b, first)
					if err := <-call; !errors.Is(err, ipmb.ErrClosed) {
						t.Errorf("a request under way: %v", err)
					}
					time.Sleep(patience - time.Since(begin))
					if state, reason := b.State(); state != bus.Down || !strings.Contains(reason, "has not let go") {
						t.Errorf("%s: %q", state, reason)
					}
					now := time.Now()
					if _, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}); !errors.Is(err, ipmb.ErrClosed) {
						t.Errorf("a later request: %v", err)
					}
					if err := b.Unbind(t.Context()); !errors.Is(err, bus.ErrDevice) {
						t.Errorf("a later unbind: %v", err)
					}
					if took := time.Since(now); took != 0 {
						t.Errorf("they took %v", took)
					}
					close(first.release)
					time.Sleep(bus.LastRetry)
					if state, reason := b.State(); state != bus.Up || opened != 2 {
						t.Errorf("%s: %q, opened %d times", state, reason, opened)
					}
					stop()
				})
			})
		}
		t.Run("stopped in "+where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := hungLine{newLine(), where, make(chan struct{})}
				b, _ := newTestBus(func() (i2c.Transport, string, error) { return l, i2c.IPMBDev, nil })
				stop := runBus(t, b)
				go func() { _, _ = b.Do(context.Background(), ipmb.Request{NetFn: ipmi.NetFnApp}) }()
				synctest.Wait()
				begin := time.Now()
				stop()
				if took := time.Since(begin); took > patience {
					t.Errorf("the end took %v", took)
				}
				close(l.release)
			})
		})
	}
}
