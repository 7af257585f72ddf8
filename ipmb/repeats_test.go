package ipmb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The judges of promise 2: requesters that number and repeat in all the ways that
// are known send distinct effects and equal reads, and some answers are lost.
// REPEATS_N is the number of requests of each, REPEATS_SEED the seed of them all.

// judged is one requester and its bus.
type judged struct {
	name     string
	inFlight int
	byteTime time.Duration
	numbers  func() numbers // nil: ipmbd's own engine
	retry    time.Duration
	tries    int
	pause    time.Duration
	slow     bool // some handlers take longer than the requester waits
}

const (
	wireByte   = oneByte              // 100 kHz
	socketByte = 2 * time.Microsecond // the time of a message on a socket, 10 to 20 bytes
)

var (
	cyclic = func() numbers { return new(cyclicNumbers) }
	lru    = func() numbers { return newLeastRecentlyUsed() }
	fixed  = func() numbers { return fixedNumber{} }
	linux  = func() numbers { return new(linuxNumbers) }
)

func judges() (all []judged) {
	for _, speed := range []struct {
		name     string
		byteTime time.Duration
	}{{"100 kHz", wireByte}, {"socket", socketByte}} {
		for _, n := range []int{1, 4, 16, 63} {
			all = append(all,
				judged{name: fmt.Sprintf("ipmbd, %d in flight, %s", n, speed.name), inFlight: n, byteTime: speed.byteTime, slow: true},
				judged{name: fmt.Sprintf("cyclic, %d in flight, %s", n, speed.name), inFlight: n, byteTime: speed.byteTime, numbers: cyclic, retry: 250 * ms, tries: 6},
				judged{name: fmt.Sprintf("least recently used, %d in flight, %s", n, speed.name), inFlight: n, byteTime: speed.byteTime, numbers: lru, retry: 250 * ms, tries: 6},
			)
		}
	}
	all = append(all,
		judged{name: "Linux, 100 kHz", inFlight: 1, byteTime: wireByte, numbers: linux, retry: 250 * ms, tries: 2},
		judged{name: "Linux, socket", inFlight: 1, byteTime: socketByte, numbers: linux, retry: 250 * ms, tries: 2},
		judged{name: "Linux, retry time of 1 s", inFlight: 1, byteTime: wireByte, numbers: linux, retry: time.Second, tries: 5},
		judged{name: "fast poller, 64 numbers in 130 ms, retries after 60 ms", inFlight: 1, byteTime: 10 * time.Microsecond, pause: 1800 * time.Microsecond, numbers: cyclic, retry: 60 * ms, tries: 6},
		judged{name: "fast poller, 64 numbers in 130 ms, 2 in flight", inFlight: 2, byteTime: wireByte, numbers: cyclic, retry: 250 * ms, tries: 6},
		judged{name: "64 numbers in 250 ms, 4 in flight", inFlight: 4, byteTime: 10 * time.Microsecond, pause: 15 * ms, numbers: cyclic, retry: 250 * ms, tries: 6},
	)
	for _, retry := range []time.Duration{60 * ms, 250 * ms, 500 * ms, time.Second, 2 * time.Second} {
		for _, pause := range []time.Duration{0, 20 * ms, 100 * ms, 400 * ms} {
			all = append(all, judged{
				name:     fmt.Sprintf("fixed number, retries after %v, a request every %v", retry, pause),
				inFlight: 1, byteTime: wireByte, numbers: fixed, retry: retry, tries: 6, pause: pause,
			})
		}
	}
	return all
}

// ledger is the responder's handler: it notes the requests that run.
type ledger struct {
	begin time.Time
	slow  bool

	mu   sync.Mutex
	dice *rand.Rand
	runs uint32
	ran  map[uint32]int // effects by their id
}

// Requests of the judges. The answer to a read has the number of its run.
var (
	readsTable   = asked{netFn: ipmi.NetFnStorage, cmd: 0x40} // Get SEL Info
	effectsTable = asked{netFn: ipmi.NetFnStorage, cmd: 0x44} // Add SEL Entry
	readsOEM     = asked{netFn: 0x30, cmd: 0x40}
	effectsOEM   = asked{netFn: 0x30, cmd: 0x44}
)

func (l *ledger) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	answer := func() { reply.Answer(l.run(req), nil) }
	if d := l.takes(); d > 0 {
		time.AfterFunc(d, answer)
	} else {
		answer()
	}
}

func (l *ledger) run(req *ipmi.Request) ipmi.Response {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs++
	if len(req.Data) == 0 {
		return ipmi.Response{Data: binary.BigEndian.AppendUint32(nil, l.runs)}
	}
	l.ran[binary.BigEndian.Uint32(req.Data)]++
	return ipmi.Response{Data: append([]byte(nil), req.Data[:4]...)}
}

// takes is how long a handler takes: 3 % some milliseconds.
func (l *ledger) takes() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n := l.dice.IntN(1000); {
	case n < 2 && l.slow:
		return 200*ms + time.Duration(l.dice.IntN(200))*ms
	case n < 30:
		return time.Duration(l.dice.IntN(8)) * ms
	}
	return 0
}

// verdict has the counts of a judge.
type verdict struct {
	requests, answered, lost     int
	twice, missing, stale, wrong int
	took                         time.Duration
}

func (v verdict) String() string {
	return fmt.Sprintf("%d requests, %d answered, %d answers lost: %d effects twice, %d missing, %d stale reads, %d wrong answers, in %v",
		v.requests, v.answered, v.lost, v.twice, v.missing, v.stale, v.wrong, v.took.Round(ms))
}

// judge has one requester make n requests, half of them reads, and some of its answers lost.
func (j judged) judge(t *testing.T, n int, lose float64, seed uint64, read, effect asked) (v verdict) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := &ledger{begin: begin, slow: j.slow, dice: rand.New(rand.NewPCG(seed, 2)), ran: make(map[uint32]int)}
		near, far := newWire(j.byteTime, lose, seed)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		responder := ipmb.New(ipmb.Config{Address: own, Handler: l})
		all.Go(func() { _ = responder.Run(ctx, far) })

		var a asker
		if j.numbers == nil {
			requester := ipmb.New(ipmb.Config{Address: peer})
			all.Go(func() { _ = requester.Run(ctx, near) })
			a = engineAsker{t, requester}
		} else {
			model := &modelAsker{end: near, numbers: j.numbers(), retry: j.retry, tries: j.tries, pause: j.pause}
			all.Go(model.run)
			a = model
		}
		synctest.Wait()
		v = j.ask(a, n, seed, l, read, effect)
		v.lost, v.took = near.wire.lost, time.Since(begin)
		cancel()
		near.Close()
		all.Wait()
	})
	return v
}

// ask makes the requests and counts the errors.
func (j judged) ask(a asker, n int, seed uint64, l *ledger, read, effect asked) (v verdict) {
	v.requests = n
	var (
		mu       sync.Mutex
		callers  sync.WaitGroup
		made     int
		answered = make([]bool, n+1)
		seen     = make(map[uint32]bool)
		dice     = rand.New(rand.NewPCG(seed, 3))
	)
	next := func() (req asked, id uint32) {
		mu.Lock()
		defer mu.Unlock()
		if made == n {
			return asked{}, 0
		}
		made++
		if dice.IntN(2) == 0 {
			return read, uint32(made)
		}
		req = effect
		req.data = append(binary.BigEndian.AppendUint32(nil, uint32(made)), 1, 2, 3, 4)
		return req, uint32(made)
	}
	for range j.inFlight {
		callers.Go(func() {
			for req, id := next(); id != 0; req, id = next() {
				l.mu.Lock()
				before := l.runs
				l.mu.Unlock()
				response, ok := a.ask(req)
				mu.Lock()
				switch {
				case !ok:
				case len(response.Data) != 4:
					v.wrong++
				case req.data == nil:
					v.answered++
					run := binary.BigEndian.Uint32(response.Data)
					if run <= before || seen[run] {
						v.stale++
					}
					seen[run] = true
				default:
					v.answered++
					answered[id] = true
					if binary.BigEndian.Uint32(response.Data) != id {
						v.wrong++
					}
				}
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, ok := range answered {
		runs := l.ran[uint32(id)]
		if ok && runs == 0 {
			v.missing++
		}
		if runs > 1 {
			v.twice++
		}
	}
	return v
}

// judgeAll has all requesters judged with 1 % and 5 % of the answers lost.
func judgeAll(t *testing.T, read, effect asked, check func(t *testing.T, j judged, v verdict)) {
	n := int(setting(t, "REPEATS_N", uint64(testmain.Amount(150, 600))))
	seed := setting(t, "REPEATS_SEED", rand.Uint64()>>32)
	for _, j := range judges() {
		for _, lose := range []float64{0.01, 0.05} {
			t.Run(fmt.Sprintf("%s, %v %% lost", j.name, lose*100), func(t *testing.T) {
				v := j.judge(t, n, lose, seed, read, effect)
				t.Logf("%v (REPEATS_SEED=%d)", v, seed)
				check(t, j, v)
			})
		}
	}
}

// TestRepeatsRunOnce is promise 2 for commands of the standard.
func TestRepeatsRunOnce(t *testing.T) {
	judgeAll(t, readsTable, effectsTable, func(t *testing.T, _ judged, v verdict) {
		if v.twice+v.missing+v.stale+v.wrong > 0 || v.answered < v.requests*9/10 {
			t.Error(v)
		}
	})
}

// TestRepeatsOfUnknownEffect measures the errors that remain if a command's effect is not known.
func TestRepeatsOfUnknownEffect(t *testing.T) {
	judgeAll(t, readsOEM, effectsOEM, func(t *testing.T, _ judged, v verdict) {
		// Three times what doc.go says, of half the requests each.
		if v.missing+v.wrong > 0 || v.stale > 10+v.requests*7/100 || v.twice > 5+v.requests*12/1000 {
			t.Error(v)
		}
	})
}
