package bus

import (
	"context"
	"slices"
	"sync"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// DefaultWorkers is how many requests Workers have in the driver, as many as there are
// sequence numbers.
const DefaultWorkers = ipmb.SequenceNumbers

// Exchange sends a request by a driver and waits for the answer. It calls sent when the
// driver has the request, so that the next request can be sent. If it does not call sent,
// the next request is sent when Exchange returns.
type Exchange func(ctx context.Context, req ipmb.Request, sent func()) (ipmi.Response, error)

// Workers implement Send and Cancel of a Link by an Exchange: requests enter the driver in
// the order in which they were sent. A worker, a goroutine, waits for each request that the
// driver has. When all workers are taken further requests wait, and those with NoWait are
// refused with ipmb.ErrBusy. A Call's OnAccepted is called with the answer. The Data that
// Exchange returns belong to the call.
type Workers struct {
	exchange Exchange
	limit    int

	mu      sync.Mutex
	queue   []*errand // in order
	present map[*Call]*errand
	workers int
	sending bool // the first is on its way into the driver
	closed  bool // by Wait
	group   sync.WaitGroup
}

// errand is a request that Workers have.
type errand struct {
	call   *Call
	req    ipmb.Request
	ctx    context.Context
	cancel context.CancelFunc
}

// NewWorkers makes Workers, of which there may be so many; 0 is DefaultWorkers.
func NewWorkers(limit int, exchange Exchange) *Workers {
	if limit == 0 {
		limit = DefaultWorkers
	}
	return &Workers{exchange: exchange, limit: limit, present: make(map[*Call]*errand)}
}

// Send is that of Link.
func (w *Workers) Send(c *Call, req *ipmb.Request) error {
	if err := req.Check(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return ipmb.ErrClosed
	case req.NoWait && len(w.present) >= w.limit:
		return ipmb.ErrBusy
	}
	e := &errand{call: c, req: *req}
	e.req.Data = slices.Clone(req.Data)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	w.present[c] = e
	w.queue = append(w.queue, e)
	w.look()
	return nil
}

// look gives the next request to a new worker, if it may enter the driver now. It is called
// with the mutex held.
func (w *Workers) look() {
	if w.sending || len(w.queue) == 0 || w.workers >= w.limit {
		return
	}
	next := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1)
	w.sending = true
	w.workers++
	w.group.Go(func() { w.work(next) })
}

// work does an errand.
func (w *Workers) work(e *errand) {
	sent := sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sending = false
		w.look()
	})
	response, err := w.exchange(e.ctx, e.req, sent)
	sent()
	w.mu.Lock()
	w.workers--
	w.forget(e)
	w.look()
	w.mu.Unlock()
	if err == nil && e.call.accepted != nil {
		e.call.accepted()
	}
	e.call.End(response, err)
}

// forget ends the context of an errand and drops it.
func (w *Workers) forget(e *errand) {
	e.cancel()
	delete(w.present, e.call)
}

// Cancel is that of Link.
func (w *Workers) Cancel(c *Call) {
	w.mu.Lock()
	e := w.present[c]
	if e == nil {
		w.mu.Unlock()
		return
	}
	e.cancel() // If a worker has the errand, it ends it.
	waits := slices.Contains(w.queue, e)
	if waits {
		w.queue = slices.DeleteFunc(w.queue, func(other *errand) bool { return other == e })
		w.forget(e)
	}
	w.mu.Unlock()
	if waits {
		c.End(ipmi.Response{}, context.Canceled)
	}
}

// Wait waits until all requests have ended. Later ones are ipmb.ErrClosed.
func (w *Workers) Wait() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.group.Wait()
}
