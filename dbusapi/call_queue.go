package dbusapi

import (
	"slices"
	"sync"
	"time"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Limits of calls to registered handlers that have no reply yet, on the connection that the host
// daemon shares. A call counts until its reply comes, even when its deadline has passed: the
// message bus counts it too.
const (
	maxCallsOfHandlers = 64
	maxCallsOfProgram  = xml.MaxExecutes // of all handlers of all connections of a program
	// maxCallsBeforeSeconds: while there are this many calls, no program that has a call gets
	// another. Only programs without a call get the places beyond.
	maxCallsBeforeSeconds = 44
	// maxCallsBeforeRetries: while hanging programs have this many calls, none of them gets
	// another call, which would show whether it answers again.
	maxCallsBeforeRetries = 24
)

// Limits of requests that wait for their turn. A bus or host interface has no more than 64
// requests with handlers.
const (
	maxWaitingOfProgram = 256
	maxWaiting          = 2048
)

// callQueue limits calls to handlers: 16 per program with all its connections, 32 per user other
// than root, 64 in all. A call over a limit waits its turn, FIFO per program. The calls of a
// program reach it in the order of the requests.
//
// A program has one call at a time at first. Each answer in time gives it one more, up to 16. A
// call whose deadline passes without a reply takes it back to one. From then on the program counts
// as hanging, until it answers in time or has replied to all calls. The limits above keep places
// free for other programs: if three programs grow to 16 calls before they hang, they have 44 calls
// together, and each other program has one.
//
// A request that waits is dropped when its deadline has passed, because its owner has answered it.
// It ends with ipmi.ErrBusy when only overdue replies would make room for it.
type callQueue struct {
	now func() time.Time // time.Now but in tests

	mu       sync.Mutex
	programs map[bus.Process]*program
	calls    *bus.Shares // of all programs
	waiting  *bus.Shares // requests of all programs
	arrivals uint64      // requests so far
	starting bool        // a goroutine is in startCalls
}

// program is a process with handlers.
type program struct {
	process  bus.Process
	client   *bus.Client // one of its connections
	window   int         // how many calls it gets whose deadline has not passed
	handlers int         // registered

	calls   []*handlerCall // that have no reply, in the order they began
	overdue int            // of calls, those whose deadline has passed
	line    []*handlerCall // that wait for their turn
}

// handlerCall is a call of a program's handler.
type handlerCall struct {
	execution
	queue   *callQueue
	program *program
	arrival uint64
	overdue bool
}

func newCallQueue() *callQueue {
	calls, waiting := bus.Halves(maxCallsOfHandlers), bus.Halves(maxWaiting)
	calls.Program, waiting.Program = maxCallsOfProgram, maxWaitingOfProgram
	return &callQueue{
		now:      time.Now,
		programs: make(map[bus.Process]*program),
		calls:    bus.NewShares(calls),
		waiting:  bus.NewShares(waiting),
	}
}

// enqueueRequest has a handler of a program answer a request when it is the request's turn. client
// is an identified connection of the program.
func (q *callQueue) enqueueRequest(client *bus.Client, x execution) {
	c := &handlerCall{execution: x, queue: q}
	c.execution.handler = c
	q.mu.Lock()
	ok := q.enterLine(client, c)
	q.mu.Unlock()
	if !ok {
		c.reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
		return
	}
	q.startCalls()
}

// findProgram is the program of a client.
func (q *callQueue) findProgram(client *bus.Client) *program {
	process, _ := client.Process()
	p := q.programs[process]
	if p == nil {
		p = &program{process: process, client: client, window: 1}
		q.programs[process] = p
	}
	return p
}

// countHandlers says that a program has n handlers more.
func (q *callQueue) countHandlers(client *bus.Client, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.findProgram(client)
	p.handlers += n
	q.forgetIfIdle(p)
}

// enterLine puts a call into the line of a program, if there is room.
func (q *callQueue) enterLine(client *bus.Client, c *handlerCall) bool {
	admission := q.waiting.Enter(client, 1)
	if admission != bus.Admitted {
		q.noteDeadlines()
		admission = q.waiting.Enter(client, 1)
	}
	if admission != bus.Admitted {
		return false
	}
	p := q.findProgram(client)
	q.arrivals++
	c.program, c.arrival = p, q.arrivals
	p.line = append(p.line, c)
	return true
}

// startCalls makes the calls for which there is room, and refuses those for which there will be no
// room. Only one goroutine at a time makes calls, so that they are written in their order. Before
// it ends it serves the requests that other goroutines have added meanwhile.
func (q *callQueue) startCalls() {
	q.mu.Lock()
	starting := q.starting
	q.starting = true
	q.mu.Unlock()
	if starting {
		return
	}
	for c, refused := q.nextCall(); c != nil; c, refused = q.nextCall() {
		if refused {
			c.reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
		} else {
			c.execution.startExecute()
		}
	}
}

// nextCall takes the oldest call that can begin, or must be refused, out of its line. It returns
// nil if there is no such call, which ends startCalls.
func (q *callQueue) nextCall() (c *handlerCall, refused bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.noteDeadlines()
	var decision verdict
	for _, p := range q.programs {
		if len(p.line) == 0 || c != nil && p.line[0].arrival > c.arrival {
			continue
		}
		if v := q.verdict(p); v != wait {
			c, decision = p.line[0], v
		}
	}
	if c == nil {
		q.starting = false
		return nil, false
	}
	p := c.program
	q.leaveLine(p, 1)
	if decision == begin {
		p.calls = append(p.calls, c)
		q.calls.Enter(p.client, 1)
	}
	q.forgetIfIdle(p)
	return c, decision == refuse
}

// verdict says what happens to the first call in a program's line.
type verdict int

const (
	wait verdict = iota
	begin
	refuse
)

func (q *callQueue) verdict(p *program) verdict {
	calls, inTime := len(p.calls), len(p.calls)-p.overdue
	room := q.calls.Check(p.client, 1) == bus.Admitted && (calls == 0 || q.calls.Used() < maxCallsBeforeSeconds)
	givenUp := p.hangs() && q.callsThatHang() >= maxCallsBeforeRetries
	switch {
	case room && inTime < p.window && !givenUp:
		return begin
	case inTime > 0:
		return wait
	case givenUp, calls >= maxCallsOfProgram, q.allOverdue(p):
		return refuse
	}
	return wait
}

// hangs reports whether a program has answered nothing in time since a deadline has passed.
func (p *program) hangs() bool { return p.overdue > 0 && p.window == 1 }

// callsThatHang is how many calls the programs have that hang.
func (q *callQueue) callsThatHang() (n int) {
	for _, p := range q.programs {
		if p.hangs() {
			n += len(p.calls)
		}
	}
	return n
}

// allOverdue reports whether all calls that keep a program from having one more are overdue: the
// calls of all programs, or the calls of its user, if that user has its share.
func (q *callQueue) allOverdue(p *program) bool {
	all, ofUser := true, true
	calls := 0 // of the user
	for _, other := range q.programs {
		overdue := other.overdue == len(other.calls)
		all = all && overdue
		if other.process.UID == p.process.UID {
			ofUser = ofUser && overdue
			calls += len(other.calls)
		}
	}
	if p.process.UID != 0 && calls >= maxCallsOfHandlers/2 {
		return ofUser
	}
	return all
}

// noteDeadlines notes the calls whose deadline has passed, and drops the waiting requests that
// their owners have answered.
func (q *callQueue) noteDeadlines() {
	now := q.now()
	for _, p := range q.programs {
		for _, c := range p.calls {
			if !c.overdue && isLate(c.req, now) {
				c.overdue = true
				p.overdue++
				p.window = 1
			}
		}
		late := 0
		for late < len(p.line) && isLate(p.line[late].req, now) {
			late++
		}
		q.leaveLine(p, late)
		q.forgetIfIdle(p)
	}
}

// leaveLine takes the first n calls out of a program's line.
func (q *callQueue) leaveLine(p *program, n int) {
	p.line = slices.Delete(p.line, 0, n)
	q.waiting.Leave(p.client, n)
}

// forgetIfIdle forgets a program that has nothing.
func (q *callQueue) forgetIfIdle(p *program) {
	if len(p.calls) == 0 && len(p.line) == 0 && p.handlers == 0 {
		delete(q.programs, p.process)
	}
}

// endCall ends a call, and reports whether no other is in progress. replied says that the program
// has replied. startCalls then gives the call's place to another one.
func (c *handlerCall) endCall(replied bool) (last bool) {
	q, p := c.queue, c.program
	q.mu.Lock()
	defer q.mu.Unlock()
	p.calls = slices.DeleteFunc(p.calls, func(other *handlerCall) bool { return other == c })
	q.calls.Leave(p.client, 1)
	if c.overdue {
		p.overdue--
	}
	if replied && p.window < maxCallsOfProgram && !isLate(c.req, q.now()) {
		p.window++
	}
	q.forgetIfIdle(p)
	return q.calls.Used() == 0
}
