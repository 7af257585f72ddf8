package inside

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Two management controllers on the ports 0 and 1.
const (
	bmcAddress   ipmi.Address = 0x20
	otherAddress ipmi.Address = 0x2C
)

// exchanges is how many requests each side sends.
const exchanges = 60

func TestTwoDaemonsExchangeRequestsBothWays(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "transport\tspeed\trequests\tlost\tretries\tp50\tp99\tmemory")
	for _, driver := range drivers {
		for _, speed := range []struct {
			name   string
			byteUS int
		}{{"100 kHz", byteAt100kHz}, {"400 kHz", byteAt400kHz}} {
			t.Run(driver.name+" at "+speed.name, func(t *testing.T) {
				l := newLoop(t)
				a, b := pair(t, l, driver, busyTries)
				l.set(t, "byte_us", speed.byteUS)
				began := sum(a.statistics(t), b.statistics(t))
				times, lost := exchange(t, a, b)
				retries := sum(a.statistics(t), b.statistics(t))["retransmissions"] - began["retransmissions"]
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%v\t%v\t%s\n", driver.name, speed.name, len(times)+lost, lost, retries,
					percentile(times, 50), percentile(times, 99), a.memory(t))
				if lost > 0 {
					t.Errorf("%d requests have no answer", lost)
				}
			})
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
}

// busyTries is how often a request is sent: for 10 s, so that no
// load of the machine loses one on a bus without faults.
const busyTries = 40

// pair starts a daemon on each of the first two ports.
func pair(t *testing.T, l *loop, d driver, tries int) (a, b *daemon) {
	t.Helper()
	a = start(t, channel{"name": "bus", "type": "ipmb", "transport": d.name, "slave-path": d.bind(t, l, 0, bmcAddress),
		"bmc-addr": bmcAddress, "remote-addr": otherAddress, "tries": tries})
	b = start(t, channel{"name": "bus", "type": "ipmb", "transport": d.name, "slave-path": d.bind(t, l, 1, otherAddress),
		"bmc-addr": otherAddress, "remote-addr": bmcAddress, "tries": tries})
	return a, b
}

// exchange sends requests from both sides at once, and returns how long those
// took that were answered and how many were not.
func exchange(t *testing.T, a, b *daemon) (times []time.Duration, lost int) {
	t.Helper()
	var mu sync.Mutex
	var senders sync.WaitGroup
	for _, d := range []*daemon{a, b} {
		senders.Go(func() {
			for i := range exchanges {
				begin := time.Now()
				err := d.echoes(t, uint32(i))
				took := time.Since(begin)
				mu.Lock()
				if err == nil {
					times = append(times, took)
				} else {
					lost++
					t.Logf("request %d: %v", i, err)
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	return times, lost
}

// echoes sends a number to the other side, and fails if another comes back. A completion code is
// an error, for example of a host daemon whose bus has gone.
func (d *daemon) echoes(t *testing.T, number uint32) error {
	data := binary.BigEndian.AppendUint32(nil, number)
	answer, err := d.Send(t.Context(), "bus", ipmb.Request{NetFn: echo, Command: 0x01, Data: data})
	switch {
	case err != nil:
		return err
	case answer.Code != ipmi.CodeOK:
		return fmt.Errorf("completion code %v", answer.Code)
	case !bytes.Equal(answer.Data, data):
		t.Errorf("request %d has another request's answer: % X", number, answer.Data)
	}
	return nil
}

// percentile of times that are not none.
func percentile(times []time.Duration, percent int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[(len(times)-1)*percent/100].Round(10 * time.Microsecond)
}

// sum adds counters.
func sum(counters ...map[string]uint64) map[string]uint64 {
	total := map[string]uint64{}
	for _, c := range counters {
		for name, n := range c {
			total[name] += n
		}
	}
	return total
}
