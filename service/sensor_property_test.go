package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/internal/openbmc"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// numbers are services that have numbers, or hang, or fail.
type numbers struct {
	mu     sync.Mutex
	values map[string]float64 // by service
	errs   map[string]error
	hangs  map[string]bool
	asking map[string]int // how many calls of a service are in progress
}

func (n *numbers) Number(ctx context.Context, p openbmc.Property) (float64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asking[p.Service]++
	defer func() { n.asking[p.Service]-- }()
	if n.asking[p.Service] > 1 {
		return 0, errors.New("asked for two at a time")
	}
	if n.hangs[p.Service] {
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return 0, ctx.Err()
	}
	return n.values[p.Service], n.errs[p.Service]
}

func (n *numbers) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func TestSensorProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &numbers{values: map[string]float64{"fan": 4000, "psu": 12}, errs: map[string]error{}, hangs: map[string]bool{}, asking: map[string]int{}}
		fan, psu, other := newSensorProperty(config.Property{Service: "fan"}), newSensorProperty(config.Property{Service: "psu"}),
			newSensorProperty(config.Property{Service: "psu", Property: "Other"})
		is := func(what string, p *sensorProperty, want float64, fails bool) {
			t.Helper()
			synctest.Wait()
			if got, err := p.last(); err != nil != fails || !fails && got != want {
				t.Errorf("%s: %g, %v, want %g", what, got, err, want)
			}
		}
		is("not asked yet", fan, 0, true)
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() { askForProperties(ctx, n, []*sensorProperty{fan, psu, other}) })
		defer asking.Wait()
		defer cancel()
		is("asked", fan, 4000, false)
		is("asked", other, 12, false)

		n.set(func() { n.hangs["psu"], n.values["fan"] = true, 5000 })
		time.Sleep(pollTime)
		is("one that does not hang", fan, 5000, false)
		is("one that has just begun to", psu, 12, false)
		time.Sleep(freshTime)
		is("one that has hung too long", psu, 0, true)
		is("the same service's", other, 0, true)
		is("one that does not hang", fan, 5000, false)

		n.set(func() { n.hangs["psu"], n.values["psu"] = false, 11 })
		time.Sleep(2 * pollTime)
		is("one that answers again", psu, 11, false)
		n.set(func() { n.errs["psu"] = ipmi.ErrNotPresent })
		time.Sleep(pollTime)
		is("one that has gone is gone at once", psu, 0, true)
	})
}
