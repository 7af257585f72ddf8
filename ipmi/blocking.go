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

// BlockingFunc answers a request, and may block until ctx ends. Its errors are those of
// Reply.Answer.
type BlockingFunc func(ctx context.Context, req *Request) (Response, error)

// Blocking is a Handler of a function that may block, because it waits for a disk or for another
// service. The requests of one interface are served one at a time, in order of arrival; those of
// several interfaces do not wait for one another. When 64 requests of an interface wait, further
// ones are answered ErrBusy.
//
// The context of a call ends at the request's deadline, at which its owner has answered it. A
// request whose deadline passes while it waits is not served. If a call does not return at its
// deadline, the next request is served beside it, unless 16 such calls go on already.
type Blocking struct {
	serve BlockingFunc
	open  lifetime // of all calls

	mu     sync.Mutex
	queues map[string][]*blocked // by interface; the first of each is being served
	stuck  int                   // calls that were left behind
	closed bool
	group  sync.WaitGroup // of the queues
}

// blocked is a request and where its answer goes.
type blocked struct {
	serve BlockingFunc
	req   *Request
	reply Reply

	// Guarded by the Blocking's mutex.
	served bool // the call has returned
	left   bool // the call was left behind
}

// NewBlocking makes a Blocking, which starts a goroutine for an interface while requests
// of it wait. serve may be nil if all requests come by Queue.
func NewBlocking(serve BlockingFunc) *Blocking {
	return &Blocking{serve: serve, open: make(lifetime), queues: make(map[string][]*blocked)}
}

// lifetime is a context without values that ends when the channel is closed.
type lifetime chan struct{}

func (l lifetime) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (l lifetime) Done() <-chan struct{}                   { return l }
func (l lifetime) Value(any) any                           { return nil }

func (l lifetime) Err() error {
	select {
	case <-l:
		return context.Canceled
	default:
		return nil
	}
}

// ServeIPMI implements Handler.
func (b *Blocking) ServeIPMI(req *Request, reply Reply) { b.Queue(b.serve, req, reply) }

// Queue has a request served by a function of its own, behind those of its interface
// that wait. After Close the request is answered ErrNotPresent.
func (b *Blocking) Queue(serve BlockingFunc, req *Request, reply Reply) {
	if err := b.add(&blocked{serve: serve, req: req, reply: reply}); err != nil {
		reply.Answer(Response{}, err)
	}
}

// add puts a request at the end of the queue of its interface, or says why not.
func (b *Blocking) add(request *blocked) error {
	iface := request.req.Interface
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queues[iface]
	switch {
	case b.closed:
		return ErrNotPresent
	case len(queue) > maxBlocked:
		return ErrBusy
	case len(queue) == 0:
		b.group.Add(1)
		go b.drain(request)
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

// Close ends the contexts of the calls, and waits until all requests that have come are served,
// for each call at most until its deadline. Requests that come later are ErrNotPresent.
func (b *Blocking) Close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.open)
	}
	b.mu.Unlock()
	b.group.Wait()
}

// drain serves a request and those behind it, until none waits. It returns early if its
// call has been left behind: another goroutine serves the rest then.
func (b *Blocking) drain(request *blocked) {
	for request != nil {
		b.answer(request)
		if b.hasServed(request) {
			return
		}
		request = b.next(request.req.Interface)
	}
	b.group.Done()
}

// next takes the request that has been served out of the queue, and returns the one
// behind it, nil for none.
func (b *Blocking) next(iface string) *blocked {
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

// answer serves the request, unless it is too late for that.
func (b *Blocking) answer(request *blocked) {
	ctx, deadline := context.Context(b.open), request.req.Deadline
	if !deadline.IsZero() {
		if !time.Now().Before(deadline) {
			request.reply.Answer(Response{}, ErrTooSlow)
			return
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
		defer time.AfterFunc(time.Until(deadline), func() { b.leave(request) }).Stop()
	}
	Serve(Immediate(func(req *Request) (Response, error) { return request.serve(ctx, req) }), request.req, request.reply)
}

// hasServed notes that a call has returned, and reports whether it was left behind.
func (b *Blocking) hasServed(request *blocked) (left bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	request.served = true
	if request.left {
		b.stuck--
	}
	return request.left
}

// leave leaves a call behind that goes on after its deadline, and serves the requests that
// wait behind it.
func (b *Blocking) leave(request *blocked) {
	b.mu.Lock()
	request.left = !request.served && b.stuck < maxStuck
	if request.left {
		b.stuck++
	}
	left := request.left
	b.mu.Unlock()
	if left {
		b.drain(b.next(request.req.Interface))
	}
}
