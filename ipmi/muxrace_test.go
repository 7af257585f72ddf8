package ipmi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// Registrars compete for one command while requests for it come in. Only one
// of them may hold it at a time, and every request is served by a registrar that
// held it, by the default, or not at all.
func TestMuxUnderConcurrentUse(t *testing.T) {
	const registrars, servers, rounds = 4, 4, 300
	var (
		m       Mux
		holders atomic.Int32
		wins    atomic.Int32
		wg      sync.WaitGroup
	)
	pattern := on(AllChannels, NetFnApp, 0x01)
	for i := range registrars {
		wg.Go(func() {
			for range rounds {
				r, err := m.Register(fmt.Sprint(i), answering(1), on(1<<i, NetFnStorage, AnyCommand), pattern)
				if err != nil {
					var overlap *OverlapError
					if !errors.As(err, &overlap) || overlap.Existing != pattern || overlap.Owner == fmt.Sprint(i) {
						t.Errorf("registrar %d: %v", i, err)
					}
					continue
				}
				wins.Add(1)
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the same command", n)
				}
				holders.Add(-1)
				r.Close()
				r.Close()
			}
		})
	}
	wg.Go(func() {
		for i := range rounds {
			m.SetDefault("bus1", []Handler{nil, answering(2)}[i%2])
		}
	})
	for range servers {
		wg.Go(func() {
			req := &Request{Interface: "bus1", NetFn: NetFnApp, Command: 0x01}
			for range rounds * 10 {
				resp, err := Do(context.Background(), &m, req)
				if served := resp.Code == 1 || resp.Code == 2; served == (err != nil) || err != nil && !errors.Is(err, ErrNoHandler) {
					t.Errorf("got %v, %v", resp, err)
				}
				if list := m.Registrations(); len(list) > 2 {
					t.Errorf("registrations %v", list)
				}
			}
		})
	}
	wg.Wait()
	if wins.Load() == 0 {
		t.Error("nobody ever registered")
	}
	if list := m.Registrations(); len(list) != 0 {
		t.Errorf("left over: %v", list)
	}
}
