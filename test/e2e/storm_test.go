package e2e

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/i2c/sim"
	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
)

// outcomes counts how calls ended, by error name; "" is an answer.
type outcomes struct {
	mu     sync.Mutex
	counts map[string]int
}

func (o *outcomes) add(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = make(map[string]int)
	}
	o.counts[name]++
}

// tagged is data that no other call has.
func tagged(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// endsOf is the sum of the counters of how calls ended.
func endsOf(statistics map[string]uint64) (ends uint64) {
	for name, n := range statistics {
		if strings.HasPrefix(name, "calls-") && name != "calls-started" && name != "calls-refused" {
			ends += n
		}
	}
	return ends
}

// TestCallsSurviveABusThatLosesAndDelays: 64 callers of each of two responders
// over 16 commands, and answers that are dropped, doubled, corrupted and later
// than the time-out.
func TestCallsSurviveABusThatLosesAndDelays(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 20
	responders := []byte{0x2C, 0x42}
	bus, n, random := bustest.Start(t), newNode(t, "ipmb-5"), chance(t)
	n.faults = &sim.Faults{
		Seed: random.Uint64(), Drop: 0.05, Duplicate: 0.05, Corrupt: 0.05,
		Delay: 0.05, DelayMin: 260 * time.Millisecond, DelayMax: 1700 * time.Millisecond,
	}
	lossy := func(asked packet, send func(packet)) {
		if random.Float64() >= 0.05 { // the request is dropped
			echo(asked, send)
		}
	}
	for _, address := range responders {
		n.respond(address, lossy)
	}
	n.start(t)
	config := channels(channel(n, nil))
	fresh := start(t, bus.Address, config).goroutines(t)
	d := start(t, bus.Address, config)
	c := connect(t, bus.Address)
	c.property(t, "bus5", "State")
	descriptors := d.descriptors(t)

	var ended outcomes
	var tags atomic.Uint64
	var all sync.WaitGroup
	for i := range callers * len(responders) {
		all.Go(func() {
			for range each {
				want := tagged(tags.Add(1))
				call := <-c.send("bus5", responders[i%2], 0x30, 0, byte(tags.Load()%16), want...).Done
				ended.add(payload(call, want))
			}
		})
	}
	all.Wait()

	total := 0
	for how, count := range ended.counts {
		total += count
		if how != "" && how != commonError+"Timeout" && how != commonError+"TooManyResources" {
			t.Errorf("%d calls: %s", count, how)
		}
	}
	if answers := ended.counts[""]; total != callers*len(responders)*each || answers < total*3/4 {
		t.Errorf("of %d calls %d ended and %d were answered", callers*len(responders)*each, total, answers)
	}
	counts := c.statistics(t, "bus5")
	if counts["calls-started"] != uint64(total) || endsOf(counts) != uint64(total) {
		t.Errorf("%d calls: %d started, %d ended", total, counts["calls-started"], endsOf(counts))
	}
	if counts["retransmissions"] == 0 || counts["responses-late"] == 0 || counts["dropped-header-checksum"]+counts["dropped-body-checksum"] == 0 {
		t.Errorf("the bus was kinder than it should be: %v", counts)
	}
	eventually(t, "descriptors as before", func() bool { return d.descriptors(t) == descriptors })

	n.heal()
	allNumbersAreFree(t, c, n, responders)
	noneIsLeft(t, fresh, d.goroutines(t))
}

// payload says how a call ended: "" with its own data.
func payload(call *dbus.Call, want []byte) string {
	var code byte
	var data []byte
	switch err := call.Store(&code, &data); {
	case err != nil:
		return errorName(err)
	case code != 0 || string(data) != string(want):
		return "another call's data"
	}
	return ""
}

// allNumbersAreFree has 64 calls of a new command in flight at once to each
// responder; none is answered before all have come.
func allNumbersAreFree(t *testing.T, c client, n *node, responders []byte) {
	t.Helper()
	var come sync.WaitGroup
	come.Add(64 * len(responders))
	seen := make(map[string]bool) // by responder and number
	for _, address := range responders {
		n.respond(address, func(asked packet, send func(packet)) {
			if key := fmt.Sprint(asked.to, asked.number); !seen[key] && asked.cmd == 0x80 {
				seen[key] = true
				come.Done()
			}
			go func() {
				come.Wait()
				echo(asked, send)
			}()
		})
	}
	calls := make(map[uint64]*dbus.Call)
	for i := range uint64(64 * len(responders)) {
		o := options{"timeout-ms": uint32(20000), "tries": uint32(1)}
		calls[i] = c.sendWith("bus5", o, responders[i%2], 0x30, 0x80, tagged(i)...)
	}
	for i, call := range calls {
		if how := payload(end(t, call), tagged(i)); how != "" {
			t.Errorf("call %d of the last: %s", i, how)
		}
	}
}

// TestSlowAnswersReachTheirOwnCall: 2 % of the requests take longer than the
// time-out, so that they are asked again and answered twice, while 32 callers
// use the numbers up as fast as they can.
func TestSlowAnswersReachTheirOwnCall(t *testing.T) {
	t.Parallel()
	const callers = 32
	each := testmain.Amount(60, 150)
	bus, n, random := bustest.Start(t), listen(t, "ipmb-5"), chance(t)
	n.respond(0x2C, func(asked packet, send func(packet)) {
		if random.Float64() < 0.02 {
			time.AfterFunc(300*time.Millisecond, func() { echo(asked, send) })
			return
		}
		echo(asked, send)
	})
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)

	var ended outcomes
	var tags atomic.Uint64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				want := tagged(tags.Add(1))
				var got legacyAnswer
				call := <-c.sendLegacy(1, 0x30, 0, 1, want...).Done
				switch err := call.Store(&got); {
				case err != nil:
					ended.add(errorName(err))
				case got.Status == 0 && string(got.Data) != string(want):
					ended.add("another call's data")
				default:
					ended.add(fmt.Sprint("status ", got.Status))
				}
			}
		})
	}
	all.Wait()
	// On a busy machine more answers are late than the responder delays, and their held numbers
	// make numbers scarce: status 3.
	answered, busy := ended.counts["status 0"], ended.counts["status 3"]
	if answered+busy != callers*each || answered < callers*each/4 {
		t.Errorf("%d of %d calls were answered: %v", answered, callers*each, ended.counts)
	}
	counts := c.statistics(t, "bus5")
	if counts["retransmissions"] == 0 || counts["responses-late"] == 0 {
		t.Errorf("nothing was late: %v", counts)
	}
}

// TestLateAnswerReachesNoLaterCall: the answer to a call that has timed out
// comes again before the number of each later call, until its number has come round.
// It may come for 5 s, the time after which a number expires.
func TestLateAnswerReachesNoLaterCall(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	var late packet
	var since time.Time
	var sent atomic.Uint64
	n.respond(0x2C, func(asked packet, send func(packet)) {
		if since.IsZero() {
			late, since = asked.answer(0, 0xBA, 0xD0), time.Now()
			return
		}
		if time.Since(since) < 5*time.Second {
			send(late)
			sent.Add(1)
		}
		echo(asked, send)
	})
	start(t, bus.Address, channels(channel(n, object{"timeout-ms": 500, "tries": 1})))
	c := connect(t, bus.Address)
	if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 4 {
		t.Fatalf("the first call: %+v", got)
	}
	const together = 16
	for i := byte(0); i < 10*together; i += together {
		var calls []*dbus.Call
		for j := range byte(together) {
			calls = append(calls, c.sendLegacy(1, 0x30, 0, 1, i+j))
		}
		for j, call := range calls {
			if got := legacyEnd(t, call); got.Status == 0 && got.Data[0] != i+byte(j) {
				t.Errorf("call %d: % X", i+byte(j), got.Data)
			}
		}
	}
	if got := c.statistics(t, "bus5")["responses-late"]; got != sent.Load() {
		t.Errorf("responses-late %d, want %d", got, sent.Load())
	}
	if sent.Load() < 64 {
		t.Logf("too busy a machine: only %d late answers", sent.Load())
	}
}
