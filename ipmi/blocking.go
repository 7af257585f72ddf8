package ipmi

import (
	"context"
	"sync"
	"time"
)

// maxBlocked is how many requests of one interface wait in a Blocking.
const maxBlocked = 64

// BlockingFunc answers a request, and may block until ctx ends. Its errors are those of
// Reply.Answer.
type BlockingFunc func(ctx context.Context, req *Request) (Response, error)

// Blocking is a Handler of a function that may block, as one does that waits for a disk
// or for another service. The requests of one interface are served one at a time, in
// order of arrival; those of several interfaces do not wait for one another. The context
// of a call ends at the request's deadline, at which its owner has answered it; a request
// whose deadline passes while it waits is not served. A request for which there is no room,
// as 64 of its interface wait, is ErrBusy.
type Blocking struct {
	serve BlockingFunc
	ctx   context.Context // of all calls
	end   context.CancelFunc

	mu     sync.Mutex
	queues map[string][]blocked // by interface, those being served; the first is in serve
	closed bool
	group  sync.WaitGroup // of drain
}

// blocked is a request and where its answer goes.
type blocked struct {
	serve BlockingFunc
	req   *Request
	reply Reply
}

// NewBlocking makes a Blocking, which starts a goroutine for an interface while requests
// of it wait.
func NewBlocking(serve BlockingFunc) *Blocking {
	ctx, end := context.WithCancel(context.Background())
	return &Blocking{serve: serve, ctx: ctx, end: end, queues: make(map[string][]blocked)}
}

// ServeIPMI implements Handler.
func (b *Blocking) ServeIPMI(req *Request, reply Reply) { b.Queue(b.serve, req, reply) }

// Queue has a request served by a function of its own, behind those of its interface
// that wait. After Close it is ErrAbsent.
func (b *Blocking) Queue(serve BlockingFunc, req *Request, reply Reply) {
	if err := b.add(blocked{serve, req, reply}); err != nil {
		reply.Answer(Response{}, err)
	}
}

// add puts a request at the end of the queue of its interface, or says why not.
func (b *Blocking) add(request blocked) error {
	iface := request.req.Interface
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queues[iface]
	switch {
	case b.closed:
		return ErrAbsent
	case len(queue) > maxBlocked:
		return ErrBusy
	case len(queue) == 0:
		b.group.Go(func() { b.drain(iface) })
	}
	b.queues[iface] = append(queue, request)
	return nil
}

// Idle reports whether no request of an interface waits or is being served.
func (b *Blocking) Idle(iface string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues[iface]) == 0
}

// Close ends the contexts of the calls, and waits until all requests that have come are
// served. Those that come later are ErrAbsent.
func (b *Blocking) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.end()
	b.group.Wait()
}

// drain serves the requests of an interface in order, until none waits.
func (b *Blocking) drain(iface string) {
	for more := true; more; more = b.next(iface) {
		b.first(iface).answer(b.ctx)
	}
}

// first is the request of an interface that is to be served.
func (b *Blocking) first(iface string) blocked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queues[iface][0]
}

// next takes the request that has been served out of the queue, and reports whether
// another one waits.
func (b *Blocking) next(iface string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queues[iface]
	queue[0] = blocked{} // lets go of the request
	if len(queue) == 1 {
		delete(b.queues, iface)
		return false
	}
	b.queues[iface] = queue[1:]
	return true
}

// answer serves the request, unless it is too late for that.
func (b blocked) answer(ctx context.Context) {
	deadline := b.req.Deadline
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		b.reply.Answer(Response{}, ErrTooSlow)
		return
	}
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	Serve(HandlerFunc(func(req *Request, reply Reply) { reply.Answer(b.serve(ctx, req)) }), b.req, b.reply)
}
