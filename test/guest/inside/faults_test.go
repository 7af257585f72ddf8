package inside

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
)

// Calls on a bad bus.
const (
	faultyCalls = 50 // of each sender
	senders     = 4  // on each side
	// longestCall is how long a call may take: its policy's 1.5 s once as it waits for a number
	// and once on the bus, and a large margin for a busy machine.
	longestCall = 15 * time.Second
)

func TestCallsOnAFaultyBusEndAndAreCounted(t *testing.T) {
	l := newLoop(t)
	a, b := pair(t, l, ipmbDev, ipmb.DefaultTries)
	l.set(t, "byte_us", byteAt400kHz)
	faults := map[string]int{"drop": 20, "nack": 10, "arbitration": 10, "corrupt": 5, "duplicate": 10}
	for fault, percent := range faults {
		l.write(t, fault, percent)
	}
	ends := callsOnAFaultyBus(t, a, b)
	for fault := range faults {
		l.write(t, fault, 0)
	}

	total := 2 * senders * faultyCalls
	t.Logf("%d calls: %v", total, ends)
	if ends["answered"] < total/2 {
		t.Error("most calls were not answered")
	}
	// Answers may still be on their way when the last call has ended.
	eventually(t, func() string { return disagreement(l.counters(t), sum(a.statistics(t), b.statistics(t))) })
	got := sum(a.statistics(t), b.statistics(t))
	for counter, want := range map[string]int{
		"calls-started":           total,
		"calls-answered":          ends["answered"],
		"calls-timeout":           ends["timeout"],
		"calls-not-acknowledged":  ends["not acknowledged"],
		"calls-arbitration-lost":  ends["write failure"],
		"dropped-header-checksum": 0, // the kernel drops those
		"dropped-short":           0,
		"dropped-foreign":         0,
		"writes-failed":           0,
	} {
		if got[counter] != uint64(want) {
			t.Errorf("%s is %d, want %d", counter, got[counter], want)
		}
	}
}

// callsOnAFaultyBus makes calls from both sides and counts how they ended.
func callsOnAFaultyBus(t *testing.T, a, b *daemon) map[string]int {
	t.Helper()
	ends := map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, d := range []*daemon{a, b} {
		for sender := range senders {
			group.Go(func() {
				for i := range faultyCalls {
					begin := time.Now()
					end := endOf(d.echoes(t, uint32(sender<<16|i)))
					if took := time.Since(begin); took > longestCall {
						t.Errorf("a call took %v", took)
					}
					mu.Lock()
					ends[end]++
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	return ends
}

// endOf names how a call ended.
func endOf(err error) string {
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, ipmb.ErrTimeout):
		return "timeout"
	case errors.Is(err, client.ErrUnavailable):
		return "not acknowledged"
	case errors.Is(err, client.ErrWriteFailure):
		return "write failure"
	}
	return err.Error()
}

// disagreement returns where the counters of a bus and of its nodes differ.
func disagreement(bus, daemons map[string]uint64) string {
	for _, row := range []struct {
		what string
		bus  uint64
		ours uint64
	}{
		{"not acknowledged", bus["n_nack"] + bus["n_absent"], daemons["writes-not-acknowledged"]},
		{"arbitration lost", bus["n_arbitration"], daemons["writes-arbitration-lost"]},
		{"sent", bus["n_delivered"] + bus["n_drop"], daemons["frames-sent"]},
		{"received", bus["n_arrived"] - bus["n_corrupt_header"], daemons["frames-received"]},
		{"with a wrong checksum 2", bus["n_corrupt_body"], daemons["dropped-body-checksum"]},
	} {
		if row.bus != row.ours {
			return fmt.Sprintf("frames %s: the bus has counted %d, the daemons %d", row.what, row.bus, row.ours)
		}
	}
	return ""
}
