package frames

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"ipmbd/ipmb"
)

// Requests in bursts, and in pairs that are near together, reach the bus in the order in
// which the client sent them, and are answered in the order in which the bus delivers.
func TestBurstsKeepTheirOrder(t *testing.T) {
	for _, processors := range []int{0, 1} {
		for _, gap := range []time.Duration{0, 100 * time.Microsecond, 500 * time.Microsecond} {
			t.Run(fmt.Sprint(processors, " processors, ", gap, " apart"), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
				r := newRig(t, Config{})
				bus := r.addBus(t, 0)
				var mu sync.Mutex
				var came []byte
				err := bus.wire.Respond(uint8(held), func(b []byte, reply func([]byte)) {
					f := must(ipmb.Decode(b))
					mu.Lock()
					came = append(came, f.Data[3])
					mu.Unlock()
					reply(answerTo(f).Append(nil))
				})
				if err != nil {
					t.Fatal(err)
				}
				c := r.connect(t)
				const bursts, size = 100, 10
				for range bursts {
					mu.Lock()
					came = nil
					mu.Unlock()
					_ = c.SetReadDeadline(time.Now().Add(timeLimit))
					var want, got []byte
					for i := range byte(size) {
						c.send(t, packet(0, request(held, i, numbered(int(i))...)))
						want = append(want, i)
						for begin := time.Now(); time.Since(begin) < gap; {
						}
					}
					for range size {
						answer := c.receive(t)
						if answer[1] != 0 {
							t.Fatalf("got % X", answer)
						}
						got = append(got, answer[len(answer)-2])
					}
					mu.Lock()
					if !bytes.Equal(came, want) || !bytes.Equal(got, want) {
						t.Fatalf("on the bus % X, answered % X", came, got)
					}
					mu.Unlock()
				}
			})
		}
	}
}

// A failure has its place among the answers.
func TestFailuresKeepTheirPlace(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 0)
	c := r.connect(t)
	for i := range byte(50) {
		index := i % 2 // there is no bus 1
		c.send(t, packet(index, request(echoes, i, numbered(int(i))...)))
		if got := c.receive(t); got[0] != index || got[1] != 2*index || got[answerHead+4]>>2 != i {
			t.Errorf("got % X", got)
		}
	}
}
