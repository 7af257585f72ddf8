package ipmi

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answered notes the answers to requests, in the order in which they come.
type answered struct {
	mu   sync.Mutex
	list []string
}

// reply is a reply that notes the answer under the request's name.
func (a *answered) reply(req *Request) Reply {
	return ReplyFunc(func(res Response, err error) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		note := fmt.Sprintf("%s %d", req.Interface, req.Sequence)
		if err != nil {
			note += ": " + err.Error()
		}
		a.list = append(a.list, note)
		return true
	})
}

// since returns the answers since its last call, when all goroutines wait.
func (a *answered) since() []string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return list
}

func (a *answered) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := a.since(); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// blockingStory runs tell with a Blocking whose calls last as many seconds as the
// requests' command number says, and ignores their contexts if it is odd.
func blockingStory(t *testing.T, name string, tell func(t *testing.T, b *Blocking, a *answered, ask func(iface string, n uint8, seconds Command))) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := NewBlocking(func(ctx context.Context, req *Request) (Response, error) {
				took := time.After(time.Duration(req.Command) * time.Second)
				if req.Command%2 == 1 {
					<-took
					return Response{}, nil
				}
				select {
				case <-took:
					return Response{}, nil
				case <-ctx.Done():
					return Response{}, ctx.Err()
				}
			})
			defer b.Close()
			a := new(answered)
			tell(t, b, a, func(iface string, n uint8, seconds Command) {
				req := &Request{Interface: iface, Sequence: n, Command: seconds, Deadline: time.Now().Add(5 * time.Second)}
				b.ServeIPMI(req, a.reply(req))
			})
		})
	})
}

func TestBlocking(t *testing.T) {
	type asks = func(iface string, n uint8, seconds Command)

	blockingStory(t, "in order on each interface", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 1, 2)
		ask("bus0", 2, 0)
		ask("bus1", 1, 1)
		ask("bus1", 2, 0)
		a.expect(t, "at once")
		if b.Idle("bus0") || b.Idle("bus1") || !b.Idle("bus2") {
			t.Error("idle")
		}
		time.Sleep(time.Second)
		a.expect(t, "after 1 s", "bus1 1", "bus1 2")
		if b.Idle("bus0") || !b.Idle("bus1") {
			t.Error("idle after 1 s")
		}
		time.Sleep(time.Second)
		a.expect(t, "after 2 s", "bus0 1", "bus0 2")
		ask("bus0", 3, 0)
		a.expect(t, "again", "bus0 3")
	})

	blockingStory(t, "a burst is served in order", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		var want []string
		for n := range uint8(maxBlocked) {
			ask("bus0", n, 0)
			want = append(want, fmt.Sprintf("bus0 %d", n))
		}
		a.expect(t, "burst", want...)
	})

	blockingStory(t, "more than may wait is busy", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 0, 2)
		for n := range uint8(maxBlocked) {
			ask("bus0", n+1, 0)
		}
		ask("bus0", 99, 0)
		ask("bus1", 99, 0)
		a.expect(t, "at once", "bus0 99: too many requests in progress", "bus1 99")
		time.Sleep(2 * time.Second)
		if got := a.since(); len(got) != maxBlocked+1 {
			t.Errorf("%d answers later", len(got))
		}
		ask("bus0", 100, 0)
		a.expect(t, "with room again", "bus0 100")
	})

	blockingStory(t, "the context ends at the deadline", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 1, 8)
		time.Sleep(5 * time.Second)
		a.expect(t, "at the deadline", "bus0 1: context deadline exceeded")
	})

	blockingStory(t, "a call that goes on after its deadline is left behind", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 1, 7)
		ask("bus0", 2, 1) // has the same deadline
		time.Sleep(3 * time.Second)
		ask("bus0", 3, 0)
		ask("bus0", 4, 1)
		a.expect(t, "before")
		time.Sleep(2 * time.Second)
		a.expect(t, "at the deadline", "bus0 2: handler missed its deadline", "bus0 3")
		time.Sleep(time.Second)
		a.expect(t, "behind it", "bus0 4")
		if !b.Idle("bus0") {
			t.Error("not idle")
		}
		time.Sleep(time.Second)
		a.expect(t, "at last", "bus0 1")
	})

	blockingStory(t, "not more than some are left behind", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		for n := range uint8(maxStuck) {
			ask("bus0", n, 201)
			time.Sleep(5 * time.Second)
		}
		ask("bus1", 1, 201)
		time.Sleep(4 * time.Second)
		ask("bus1", 2, 0)
		time.Sleep(2 * time.Second)
		a.expect(t, "as there is no room")
		time.Sleep(400 * time.Second)
		if got := a.since(); len(got) != maxStuck+2 || got[len(got)-1] != "bus1 2: handler missed its deadline" {
			t.Errorf("in the end %q", got)
		}
	})

	blockingStory(t, "a panic is an error, and the next one is served", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		req := &Request{Interface: "bus0", Sequence: 1}
		b.Queue(func(context.Context, *Request) (Response, error) { panic("boom") }, req, a.reply(req))
		ask("bus0", 2, 0)
		a.expect(t, "both", "bus0 1: handler panicked: boom", "bus0 2")
	})

	blockingStory(t, "without a deadline as long as it takes", func(t *testing.T, b *Blocking, a *answered, _ asks) {
		req := &Request{Interface: "bus0", Sequence: 1, Command: 200}
		b.ServeIPMI(req, a.reply(req))
		time.Sleep(200 * time.Second)
		a.expect(t, "at last", "bus0 1")
	})

	blockingStory(t, "Close ends the contexts and waits", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 1, 4)
		ask("bus0", 2, 1)
		ask("bus1", 1, 3)
		synctest.Wait()
		begin := time.Now()
		b.Close()
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("it took %v", took)
		}
		a.expect(t, "all", "bus0 1: context canceled", "bus0 2", "bus1 1")
		ask("bus0", 3, 0)
		a.expect(t, "afterwards", "bus0 3: handler is not present")
	})

	blockingStory(t, "Close waits for a call until its deadline", func(t *testing.T, b *Blocking, a *answered, ask asks) {
		ask("bus0", 1, 201)
		ask("bus0", 2, 201)
		synctest.Wait()
		begin := time.Now()
		b.Close()
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		a.expect(t, "the second", "bus0 2: handler missed its deadline")
		time.Sleep(300 * time.Second)
	})
}

// Many goroutines bring requests of interfaces of their own, and another one checks whether
// they are idle.
func TestBlockingUnderConcurrentUse(t *testing.T) {
	b := NewBlocking(func(context.Context, *Request) (Response, error) { return Response{}, nil })
	var bringing sync.WaitGroup
	for i := range 4 {
		bringing.Go(func() {
			iface, last := fmt.Sprint(i), -1
			answers := make(chan error, maxBlocked)
			for n := range 2000 {
				b.ServeIPMI(&Request{Interface: iface}, ReplyFunc(func(_ Response, err error) bool {
					if n != last+1 {
						t.Errorf("answer %d after %d", n, last)
					}
					last = n
					answers <- err
					return true
				}))
				if n%maxBlocked != 0 {
					continue
				}
				for range min(n, maxBlocked-1) + 1 {
					if err := <-answers; err != nil {
						t.Error(err)
					}
				}
				b.Idle(iface)
			}
		})
	}
	bringing.Wait()
	b.Close()
	for i := range 4 {
		if !b.Idle(fmt.Sprint(i)) {
			t.Errorf("interface %d is not idle", i)
		}
	}
}
