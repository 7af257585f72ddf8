package ipmi

import (
	"context"
	"sync"
	"time"
)

const (
	// maxBlocked is how many requests of one interface wait in a Blocking.
	maxBlocked = 64
	// maxStuck is how many calls past their deadline a Blocking leaves behind.
	maxStuck = 16
)

// BlockingFunc answers a request, and may block until ctx ends. It returns the errors of
// Reply.Answer.
type BlockingFunc func(ctx context.Context, req *Request) (Response, error)

// Blocking is a Handler of a function that may block, because it waits for a disk or for another
// service. The requests of one interface are served one at a time, in order of arrival; requests
// of different interfaces do not wait for one another. When 64 requests of an interface wait,
// further ones are answered ErrBusy.
//
// The context of a call ends at the request's deadline, at which its owner has answered it. A
// request whose deadline passes while it waits is not served. If a call does not return at its
// deadline, the next request is served beside it, unless 16 such calls go on already.
type Blocking struct {
	serve BlockingFunc

	mu     sync.Mutex
	queues map[string][]*blocked // by interface; the first of each is being served
	stuck  int                   // calls that were left behind
	closed bool
	group  sync.WaitGroup // of the queues
}

// blocked is a request in a Blocking. It is the context of its call.
type blocked struct {
	serve BlockingFunc
	req   *Request
	reply Reply
	done  chan struct{} // closed at the end of the context

	// Guarded by the Blocking's mutex.
	err    error // why the context has ended; nil before that
	served bool  // the call has returned
	left   bool  // the call was left behind
}

// Deadline, Done, Err and Value implement context.Context.
func (r *blocked) Deadline() (deadline time.Time, ok bool) {
	return r.req.Deadline, !r.req.Deadline.IsZero()
}

func (r *blocked) Done() <-chan struct{} { return r.done }
func (r *blocked) Value(any) any         { return nil }

func (r *blocked) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// endContext ends the context. The caller holds the Blocking's mutex.
func (r *blocked) endContext(err error) {
	if r.err == nil {
		r.err = err
		close(r.done)
	}
}

// NewBlocking makes a Blocking, which starts a goroutine for an interface while requests of it
// wait. serve may be nil if all requests come by Queue.
func NewBlocking(serve BlockingFunc) *Blocking {
	return &Blocking{serve: serve, queues: make(map[string][]*blocked)}
}

// ServeIPMI implements Handler.
func (b *Blocking) ServeIPMI(req *Request, reply Reply) { b.Queue(b.serve, req, reply) }

// Queue has a function serve a request, behind the requests of its interface that wait. After
// Close the request is answered ErrNotPresent.
func (b *Blocking) Queue(serve BlockingFunc, req *Request, reply Reply) {
	if err := b.enqueue(&blocked{serve: serve, req: req, reply: reply, done: make(chan struct{})}); err != nil {
		reply.Answer(Response{}, err)
	}
}

// enqueue puts a request at the end of the queue of its interface.
func (b *Blocking) enqueue(r *blocked) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queues[r.req.Interface]
	switch {
	case b.closed:
		return ErrNotPresent
	case len(queue) > maxBlocked:
		return ErrBusy
	case len(queue) == 0:
		b.group.Add(1)
		go b.serveQueue(r)
	}
	b.queues[r.req.Interface] = append(queue, r)
	return nil
}

// Idle reports whether no request of an interface waits or is being served.
func (b *Blocking) Idle(iface string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues[iface]) == 0
}

// Close ends the contexts of the calls, and waits until all requests that have come are served,
// for each call at most until its deadline. Later requests are answered ErrNotPresent.
func (b *Blocking) Close() {
	b.mu.Lock()
	b.closed = true
	for _, queue := range b.queues {
		for _, r := range queue {
			r.endContext(context.Canceled)
		}
	}
	b.mu.Unlock()
	b.group.Wait()
}

// serveQueue serves a request and those behind it, until no request waits. It returns early if its
// call was left behind: then another goroutine serves the rest.
func (b *Blocking) serveQueue(r *blocked) {
	for r != nil {
		b.serveRequest(r)
		if b.hasServed(r) {
			return
		}
		r = b.nextRequest(r.req.Interface)
	}
	b.group.Done()
}

// nextRequest takes the request that has been served out of the queue, and returns the one behind
// it, or nil.
func (b *Blocking) nextRequest(iface string) *blocked {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queues[iface]
	queue[0] = nil // lets go of the request
	if len(queue) == 1 {
		delete(b.queues, iface)
		return nil
	}
	b.queues[iface] = queue[1:]
	return queue[1]
}

// serveRequest serves the request, unless it is too late for that.
func (b *Blocking) serveRequest(r *blocked) {
	if deadline, ok := r.Deadline(); ok {
		if !time.Now().Before(deadline) {
			r.reply.Answer(Response{}, ErrTooSlow)
			return
		}
		defer time.AfterFunc(time.Until(deadline), func() { b.passDeadline(r) }).Stop()
	}
	Serve(Immediate(func(req *Request) (Response, error) { return r.serve(r, req) }), r.req, r.reply)
}

// hasServed notes that a call has returned, and reports whether it was left behind.
func (b *Blocking) hasServed(r *blocked) (left bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.served = true
	r.endContext(context.Canceled)
	if r.left {
		b.stuck--
	}
	return r.left
}

// passDeadline ends the context of a call at its deadline. If the call goes on, it is left behind,
// and the requests that wait behind it are served.
func (b *Blocking) passDeadline(r *blocked) {
	b.mu.Lock()
	r.endContext(context.DeadlineExceeded)
	r.left = !r.served && b.stuck < maxStuck
	left := r.left
	if left {
		b.stuck++
	}
	b.mu.Unlock()
	if left {
		b.serveQueue(b.nextRequest(r.req.Interface))
	}
}
