package dbusapi

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/internal/dbuswire"
	"ipmbd/internal/testmain"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// testCounters are counters of a server that a test does not have.
func testCounters() *counters.Set[counter] {
	set := counters.New[counter](counterNames)
	return &set
}

// clock is a clock that is set.
type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// queueRig is a queue whose calls reach no program; the test replies to them.
type queueRig struct {
	*callQueue
	t       *testing.T
	clock   clock
	conn    *fakeConn
	clients map[string]*bus.Client
}

func newQueueRig(t *testing.T) *queueRig {
	r := &queueRig{t: t, conn: newFakeConn(), callQueue: newCallQueue(), clients: make(map[string]*bus.Client)}
	r.clock.time = time.Unix(1e9, 0)
	r.callQueue.now = r.clock.now
	return r
}

// client is a program of root with a handler, unless another one was made.
func (r *queueRig) client(name string) *bus.Client {
	if r.clients[name] == nil {
		r.join(name, bus.Process{PID: int32(len(r.clients) + 1)})
	}
	return r.clients[name]
}

// join makes a connection of a program with a handler.
func (r *queueRig) join(name string, p bus.Process) {
	r.clients[name] = new(bus.Client)
	r.clients[name].Identify(p)
	r.countHandlers(r.clients[name], 1)
}

// program is nil for one that has left.
func (r *queueRig) program(name string) *program {
	process, _ := r.client(name).Process()
	return r.programs[process]
}

// ask makes a request to a program, which has a minute.
func (r *queueRig) ask(name string, data ...byte) *owner {
	req, o := fromME(data...), newOwner()
	req.Deadline = r.clock.now().Add(time.Minute)
	reply := ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
		return !isLate(req, r.clock.now()) && o.Answer(res, err)
	})
	r.enqueueRequest(r.client(name), execution{conn: r.conn, to: &target{destination: name, path: "/"}, req: req, reply: reply, counts: testCounters()})
	return o
}

// reply has a program reply to its oldest calls.
func (r *queueRig) reply(name string, calls int) {
	r.t.Helper()
	for range calls {
		if r.callsOf(name) == 0 || !r.replyToOldest(name) {
			r.t.Fatalf("%s has no call", name)
		}
	}
}

// grow lets a program have as many calls as it may.
func (r *queueRig) grow(name string) {
	r.t.Helper()
	for range xml.MaxExecutes {
		r.ask(name)
		r.reply(name, 1)
	}
}

// calls is how many calls of a program have no reply.
func (r *queueRig) callsOf(name string) int {
	if p := r.program(name); p != nil {
		return len(p.calls)
	}
	return 0
}

func (r *queueRig) wantCalls(name string, want int) {
	r.t.Helper()
	if got := r.callsOf(name); got != want {
		r.t.Errorf("%s has %d calls, want %d", name, got, want)
	}
}

func TestProgramGetsMoreCallsAsItAnswers(t *testing.T) {
	r := newQueueRig(t)
	for range 100 {
		r.ask("a")
	}
	for want := 1; want < 2*xml.MaxExecutes; want++ {
		r.wantCalls("a", min(want, xml.MaxExecutes))
		r.reply("a", 1)
	}
	r.clock.advance(time.Hour)
	r.ask("a")
	r.wantCalls("a", xml.MaxExecutes) // all overdue
	r.reply("a", xml.MaxExecutes)
	r.ask("a")
	r.ask("a")
	r.wantCalls("a", 1)
}

// Programs that always have requests in line do not keep another one out.
func TestRoomForHandlersGoesRound(t *testing.T) {
	r := newQueueRig(t)
	greedy := []string{"a", "b", "c"}
	for _, name := range greedy {
		r.grow(name)
	}
	r.grow("another")
	for _, name := range greedy {
		for range 2 * xml.MaxExecutes {
			r.ask(name)
		}
	}
	if r.calls.Used() != maxCallsBeforeSeconds {
		t.Fatalf("%d calls", r.calls.Used())
	}
	r.ask("another")
	r.wantCalls("another", 1)
	r.ask("another")
	r.wantCalls("another", 1) // for a second one it waits
	for range 10 {
		for _, name := range greedy {
			r.reply(name, r.callsOf(name)/2)
			for range xml.MaxExecutes {
				r.ask(name)
			}
		}
	}
	if n := len(r.program("another").line); n != 0 {
		t.Errorf("the other one still waits")
	}
}

// The worst case of programs that hang: some grow, all get as many calls as they can, and are
// asked time and again.
func TestPlacesThatHungProgramsTake(t *testing.T) {
	for _, tt := range []struct{ grown, fresh, want int }{
		{0, 1, xml.MaxExecutes},
		{1, 0, xml.MaxExecutes},
		{2, 0, 2 * xml.MaxExecutes},
		{3, 0, maxCallsBeforeSeconds},
		{4, 0, maxCallsBeforeSeconds + 1},
		{20, 0, maxCallsBeforeSeconds + 17},
		{0, 5, maxCallsBeforeRetries},
		{0, 20, maxCallsBeforeRetries},
		{0, 40, 40},
		{3, 17, maxCallsBeforeSeconds + 17},
		{30, 30, maxCallsOfHandlers},
	} {
		r := newQueueRig(t)
		var names []string
		for i := range tt.grown {
			names = append(names, fmt.Sprint("grown", i))
			r.grow(names[i])
		}
		for i := range tt.fresh {
			names = append(names, fmt.Sprint("fresh", i))
		}
		each := 2 * xml.MaxExecutes
		for range testmain.Amount(xml.MaxExecutes+1, 2*xml.MaxExecutes) {
			for _, name := range names {
				for range each {
					r.ask(name)
				}
			}
			each = testmain.Amount(2, each)
			r.clock.advance(2 * time.Minute)
		}
		if r.calls.Used() != tt.want {
			t.Errorf("%d that grew and %d that did not take %d places, want %d", tt.grown, tt.fresh, r.calls.Used(), tt.want)
		}
		if r.waiting.Used() > len(names)*maxWaitingOfProgram {
			t.Errorf("%d wait", r.waiting.Used())
		}
	}
}

// Programs of a user that hang take half of the places. A request to one of them waits, and is
// refused when only overdue replies would make room; others are served.
func TestUserWhoseProgramsHang(t *testing.T) {
	r := newQueueRig(t)
	for i := range int32(5) {
		name := fmt.Sprint("hangs", i)
		r.join(name, bus.Process{PID: i, UID: 1000})
		r.program(name).window = xml.MaxExecutes
		for range xml.MaxExecutes {
			r.ask(name)
		}
	}
	last := r.ask("hangs4")
	r.wantCalls("hangs4", 0)
	if len(last.done) > 0 || r.calls.Used() != maxCallsOfHandlers/2 {
		t.Errorf("%d calls", r.calls.Used())
	}
	r.join("other", bus.Process{PID: 9, UID: 1001})
	for range 3 * xml.MaxExecutes {
		got := r.ask("other")
		r.reply("other", 1)
		if got := <-got.done; got.err != nil {
			t.Fatal(got.err)
		}
	}
	r.clock.advance(2 * time.Minute)
	for name, want := range map[string]error{"hangs4": ipmi.ErrBusy, "other": nil} {
		got := r.ask(name)
		if want == nil {
			r.reply(name, 1)
		}
		if got := <-got.done; !errors.Is(got.err, want) {
			t.Errorf("%s: %v", name, got.err)
		}
	}
	r.reply("hangs0", 1)
	again := r.ask("hangs4")
	r.reply("hangs4", 1)
	if got := <-again.done; got.err != nil {
		t.Errorf("when there is room: %v", got.err)
	}
}

// With the message bus all requests end, those in line too, in their order.
func TestLineEndsWithTheMessageBus(t *testing.T) {
	r := newQueueRig(t)
	var ended owned
	h := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		r.enqueueRequest(r.client("a"), execution{conn: r.conn, to: &target{destination: "a", path: "/"}, req: req, reply: reply, counts: testCounters()})
	})
	r.grow("a")
	for i := range byte(100) {
		ended.request(t, h, fromME(i), ipmi.ErrAbandoned)
	}
	r.wantCalls("a", xml.MaxExecutes)
	r.conn.err = dbuswire.ErrDisconnected
	for _, c := range slices.Clone(r.program("a").calls) {
		c.Lost()
	}
	ended.wantOrder(t)
	ended.request(t, h, fromME(100), ipmi.ErrAbandoned)
	if r.calls.Used() != 0 || r.waiting.Used() != 0 {
		t.Errorf("%d calls, %d wait", r.calls.Used(), r.waiting.Used())
	}
}

// One lost reply does not end a handler, however busy others are.
func TestProgramThatLostOneReplyIsCalledAgain(t *testing.T) {
	r := newQueueRig(t)
	r.ask("forgetful")
	r.clock.advance(2 * time.Minute)
	for _, name := range []string{"a", "b", "c"} {
		r.grow(name)
		for range 2 * xml.MaxExecutes {
			r.ask(name)
		}
	}
	waiting := r.ask("forgetful")
	r.wantCalls("forgetful", 1) // There are 44.
	r.reply("a", 2*xml.MaxExecutes)
	r.wantCalls("forgetful", 2)
	newest := r.program("forgetful").calls[1]
	newest.execution.answerRequest(ipmi.Response{}, nil, true)
	if got := <-waiting.done; got.err != nil {
		t.Error(got.err)
	}
	r.ask("forgetful")
	r.ask("forgetful")
	r.wantCalls("forgetful", 3)
}

func TestLineIsBounded(t *testing.T) {
	r := newQueueRig(t)
	for range 1 + maxWaitingOfProgram {
		r.ask("a")
	}
	if got := <-r.ask("a").done; !errors.Is(got.err, ipmi.ErrBusy) {
		t.Errorf("over the bound of one: %v", got.err)
	}
	for i := range maxWaiting {
		r.ask(fmt.Sprint("b", i/100))
	}
	if got := <-r.ask("b0").done; !errors.Is(got.err, ipmi.ErrBusy) || r.waiting.Used() != maxWaiting {
		t.Errorf("over the bound of all: %v, %d wait", got.err, r.waiting.Used())
	}
	// Those whose deadline has passed make room.
	r.clock.advance(2 * time.Minute)
	r.ask("c")
	if r.waiting.Used() != 0 {
		t.Errorf("%d wait", r.waiting.Used())
	}
}

// Requests from several goroutines begin one after the other, and none is forgotten.
func TestQueueUnderLoad(t *testing.T) {
	r := newQueueRig(t)
	var all sync.WaitGroup
	const programs, requests = 8, 200
	for i := range programs {
		r.client(fmt.Sprint("p", i))
	}
	for i := range programs {
		name := fmt.Sprint("p", i)
		all.Go(func() {
			for n := range requests {
				r.ask(name, byte(n))
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var replies [programs]int
	answered := func() (all int) {
		for i := range replies {
			all += replies[i]
		}
		return all
	}
	for answered() < programs*requests {
		for i := range programs {
			name := fmt.Sprint("p", i)
			r.mu.Lock()
			n, first := 0, byte(0)
			if p := r.program(name); p != nil && len(p.calls) > 0 {
				n, first = len(p.calls), p.calls[0].req.Data[0]
			}
			r.mu.Unlock()
			if n == 0 {
				continue
			}
			if first != byte(replies[i]) {
				t.Fatalf("%s: call %d is request %d", name, replies[i], first)
			}
			if r.replyToOldest(name) {
				replies[i]++
			}
		}
	}
	<-done
	if r.calls.Used() != 0 || r.waiting.Used() != 0 {
		t.Errorf("%d calls, %d wait", r.calls.Used(), r.waiting.Used())
	}
}

// replyToOldest replies to a program's oldest call, false if it has not been written yet.
func (r *queueRig) replyToOldest(name string) bool {
	r.mu.Lock()
	oldest := r.program(name).calls[0]
	r.mu.Unlock()
	return r.conn.reply(&oldest.execution, name, 7, 2, 1, 0, 0, 0, 0, 0)
}

// Answers are views of the message that the handler need not copy.
func TestExecuteResponseIsAView(t *testing.T) {
	b := []byte{7, 2, 1, 0, 3, 0, 0, 0, 1, 2, 3}
	_, _, res, _ := parseExecuted(&dbuswire.Message{Type: dbuswire.TypeReturn, Signature: []byte(xml.ExecuteOut), Body: b})
	if diff := cmp.Diff(ipmi.Response{Data: []byte{1, 2, 3}}, res); diff != "" || &res.Data[0] != &b[8] {
		t.Error(diff)
	}
}
