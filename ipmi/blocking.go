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
// whose deadline passes while it waits is not served. More than 64 waiting requests of an
// interface are ErrBusy.
type Blocking struct {
	serve BlockingFunc
	ctx   context.Context // of all calls
	end   context.CancelFunc

	mu     sync.Mutex
	queues map[string][]blocked // by interface, those being served; the first is in serve
	group  sync.WaitGroup
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

// Queue has a request served by a function of its own, behind those that wait.
func (b *Blocking) Queue(serve BlockingFunc, req *Request, reply Reply) {
	b.mu.Lock()
	queue := b.queues[req.Interface]
	if len(queue) > maxBlocked {
		b.mu.Unlock()
		reply.Answer(Response{}, ErrBusy)
		return
	}
	b.queues[req.Interface] = append(queue, blocked{serve, req, reply})
	if len(queue) == 0 {
		b.group.Go(func() { b.drain(req.Interface) })
	}
	b.mu.Unlock()
}

// Idle reports whether no request of an interface waits or is being served.
func (b *Blocking) Idle(iface string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues[iface]) == 0
}

// Close ends the contexts of the calls and waits until all requests are served. No more
// must come.
func (b *Blocking) Close() {
	b.end()
	b.group.Wait()
}

// drain serves what waits of an interface, and ends when nothing does.
func (b *Blocking) drain(iface string) {
	for {
		b.mu.Lock()
		first := b.queues[iface][0]
		b.mu.Unlock()
		first.answer(b.ctx)
		b.mu.Lock()
		rest := b.queues[iface][1:]
		if len(rest) == 0 {
			delete(b.queues, iface)
			b.mu.Unlock()
			return
		}
		b.queues[iface] = rest
		b.mu.Unlock()
	}
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
