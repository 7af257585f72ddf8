package frames

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
)

// TestStorm: each packet has one answer, and it is its own, whether responders answer well or
// badly, and while other clients come and go with garbage and requests they leave.
func TestStorm(t *testing.T) {
	r := newRig(t, Config{MaxClients: 1000, MaxPerProcess: 1000}) // Clients that have gone may count for a moment.
	buses := []*testBus{r.addBus(t, 0), r.addBus(t, 1)}
	for _, bus := range buses {
		bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MinTimeout})
	}
	end := make(chan struct{})
	var others, clients sync.WaitGroup
	for n := range 4 {
		c := r.connect(t)
		clients.Go(func() { storm(t, c, n) })
	}
	for range 2 {
		others.Go(func() { misbehave(r, end) })
	}
	clients.Wait()
	close(end)
	others.Wait()
	eventually(t, "all requests to end", func() bool { return buses[0].InProgress() == 0 && buses[1].InProgress() == 0 })
}

// storm keeps requests in flight and checks every answer.
func storm(t *testing.T, c raw, client int) {
	const inFlight = 12
	requests := testmain.Amount(200, 600)
	var asked [ipmb.SequenceNumbers]*asking
	answered, next := 0, 0
	send := func() {
		number := 0
		for asked[number] != nil {
			number++
		}
		responder := echoes
		switch rand.N(40) {
		case 0:
			responder = quiet
		case 1:
			responder = absent
		case 2, 3, 4, 5:
			responder = liar
		}
		a := &asking{uint8(next % 2), request(responder, uint8(number), numbered(client<<24|next)...)}
		next++
		asked[number] = a
		if _, err := c.Write(packet(a.index, a.frame)); err != nil {
			t.Error(err)
		}
	}
	for answered < requests {
		for next-answered < inFlight && next < requests {
			send()
		}
		got, _ := c.next()
		if len(got) < answerHead+headBytes || got[0] > 1 || got[1] > 4 {
			t.Errorf("got % X", got)
			return
		}
		answered++
		number := got[answerHead+4] >> 2
		a := asked[number]
		var want []byte
		if a != nil {
			want = answerPacket(a.index, a.frame)
			if status := ipmb.Status(got[1]); status != ipmb.StatusOK {
				want = failurePacket(a.index, status, a.frame)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got % X for %+v", got, a)
			return
		}
		asked[number] = nil
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, _ := c.Read(make([]byte, 100)); n > 0 {
		t.Error("there are more answers than requests")
	}
}

// asking is a request without an answer.
type asking struct {
	index uint8
	frame ipmb.Frame
}

// misbehave is one client after the other that sends garbage and requests, and goes.
func misbehave(r *rig, end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		default:
		}
		c, err := net.DialUnix(network, nil, &net.UnixAddr{Name: r.path, Net: network})
		if err != nil {
			continue
		}
		for i := range rand.N(60) {
			p := packet(uint8(rand.N(3)), request(echoes, uint8(i), make([]byte, rand.N(300))...))
			if rand.N(2) == 0 {
				p[rand.N(len(p))] ^= uint8(rand.N(256))
			}
			if rand.N(10) == 0 {
				p = nil
			}
			if _, err := c.Write(p); err != nil {
				break
			}
		}
		c.Close()
	}
}
