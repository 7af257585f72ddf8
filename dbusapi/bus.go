package dbusapi

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Types of channels, the lower two bits of an index (ipmbbridge's ipmb-channels.json).
const (
	channelTypeMask = 3
	channelTypeIPMB = 0
)

// BusObject is a bus on D-Bus. Server.NewBus makes it before the bus exists, so that the bus can
// get its observer and its handler from it.
type BusObject struct {
	endpoint
	index uint8
	bus   *bus.Bus // from Export on

	refused atomic.Uint64 // calls beyond the limits of the bus
	policy  sync.Mutex    // one change of the policy at a time

	bySignal atomic.Bool // clients answer requests by sendResponse
	waiting  waiting     // the requests
}

// NewBus makes the object of a bus with a name and a channel index. No client sees it until
// Export.
func (s *Server) NewBus(name string, index uint8) (*BusObject, error) {
	o := &BusObject{index: index}
	return o, o.initEndpoint(s, "bus", name)
}

// Export exports the object. It returns an error if the path is taken. If several buses have one
// index, org.openbmc.Ipmb reaches the first.
func (o *BusObject) Export(b *bus.Bus) error {
	o.bus = b
	exported := newObject(o.server, o.path, xml.BusInterface)
	exported.bus = o
	return o.exportObject(exported)
}

// Withdraw takes the object away, and the bus refuses further calls. Calls in progress end when
// the bus ends them. The index stays taken until FreeIndex, so that org.openbmc.Ipmb finds a bus
// that is replaced as Down, not as unknown.
func (o *BusObject) Withdraw() {
	if o.bus != nil {
		o.bus.Leave()
	}
	o.endpoint.Withdraw()
}

// FreeIndex frees the index of a bus that was withdrawn, unless another bus has it already.
func (o *BusObject) FreeIndex() { o.server.objects.channels.Free(o) }

// Index is the index of the bus, devIndex<<2 | type.
func (o *BusObject) Index() uint8 { return o.index }

// Leaving reports whether the bus is being removed.
func (o *BusObject) Leaving() bool { return o.bus.Leaving() }

// statistics is the counters of the bus and of its object.
func (o *BusObject) statistics() map[string]uint64 {
	all := o.bus.Statistics()
	all["dbus-calls-refused"] = o.refused.Load()
	all["dbus-signals-dropped"] = o.unsent.Load()
	return all
}

// Received emits receiveBroadcast for a valid frame, on buses of type ipmb; see
// ipmb.Config.Received. It does not block, and does not keep f.Data.
func (o *BusObject) Received(f ipmb.Frame) {
	if o.index&channelTypeMask != channelTypeIPMB || ipmi.CarriesSecret(f.NetFn, f.Command, f.Data) {
		return
	}
	b := beginSignal(o.server.conn, "", BasePath, receiveBroadcast, "yyay", 9+len(f.Data))
	b = append(b, byte(f.NetFn), byte(f.Command))
	if f.NetFn.IsResponse() { // The completion code comes before the data.
		b = append(dbuswire.AppendUint32(b, uint32(1+len(f.Data))), byte(f.Code))
	} else {
		b = dbuswire.AppendUint32(b, uint32(len(f.Data)))
	}
	o.emitSignal(append(b, f.Data...))
}

// Together calls work. The signals and replies that the service sends meanwhile leave in one
// write.
func (o *BusObject) Together(work func()) { o.server.conn.Together(work) }

// Announce is a handler that emits ReceivedMessage for each request and lets next answer it. The
// signal leaves in one write with the messages that next sends on the connection.
func (o *BusObject) Announce(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		o.Together(func() {
			if !mayCarrySecret(req) {
				o.announce(o.server.ids.Add(1), req)
			}
			next.ServeIPMI(req, reply)
		})
	})
}

// announce emits ReceivedMessage and reports whether it will be sent.
func (o *BusObject) announce(id uint64, req *ipmi.Request) bool {
	b := beginSignal(o.server.conn, "", o.path, receivedMessage, "tyyyyay", 16+len(req.Data))
	b = dbuswire.AppendUint64(b, id)
	b = append(b, byte(req.Requester), byte(req.NetFn), byte(req.LUN), byte(req.Command))
	return o.emitSignal(dbuswire.AppendBytes(b, req.Data))
}

// SignalHandler is the handler of a bus whose requests clients answer by sendResponse: it emits
// ReceivedMessage. A request without an answer ends with ipmi.ErrNoHandler, a little before its
// deadline, unless a client that has ever answered is on the message bus. A command that carries a
// secret is in no signal, so no client serves it.
func (o *BusObject) SignalHandler() ipmi.Handler {
	o.bySignal.Store(true)
	return ipmi.HandlerFunc(o.serveBySignal)
}

func (o *BusObject) serveBySignal(req *ipmi.Request, reply ipmi.Reply) {
	if mayCarrySecret(req) {
		reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
		return
	}
	id := o.server.ids.Add(1)
	o.waiting.addRequest(id, req, reply, o.server.clients.haveAnswerer)
	if !o.announce(id, req) {
		o.waiting.removeRequest(id)
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
	}
}

func sendResponse(c *call) ([]any, error) {
	o := c.object.bus
	if !o.bySignal.Load() {
		return nil, errNotBySignal
	}
	c.server.clients.noteAnswerer(c.sender)
	r := o.waiting.removeRequest(c.args[0].(uint64))
	res := ipmi.Response{Code: ipmi.CompletionCode(c.args[1].(byte)), Data: c.args[2].([]byte)}
	if r == nil || !r.reply.Answer(res, nil) {
		return nil, errUnknownID
	}
	return nil, nil
}

// ofBus makes a method that does something with the bus.
func ofBus(do func(*bus.Bus, context.Context) error) func(context.Context, *call) ([]any, error) {
	return func(ctx context.Context, c *call) ([]any, error) { return nil, do(c.object.bus.bus, ctx) }
}

// waiting has the requests that wait for a sendResponse, in the order in which they came. One
// timer ends those that no client answers. The zero value is ready.
type waiting struct {
	mu       sync.Mutex
	requests []*waitingRequest
	timer    *time.Timer // nil before the first request
	fires    time.Time   // when the timer does; zero: it does not
	ending   bool        // the timer has fired, and requests are being ended
}

type waitingRequest struct {
	id       uint64
	reply    ipmi.Reply
	deadline time.Time // at which the request's owner answers it; zero: never
	// ends is when the request ends, a twentieth of its time before the deadline. If a client
	// may answer then, it is the deadline.
	ends time.Time
}

// addRequest has a request wait. mayBeAnswered is asked when it is about to end.
func (w *waiting) addRequest(id uint64, req *ipmi.Request, reply ipmi.Reply, mayBeAnswered func() bool) {
	r := &waitingRequest{id: id, reply: reply, deadline: req.Deadline}
	if !r.deadline.IsZero() {
		r.ends = r.deadline.Add(-time.Until(r.deadline) / 20)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Hour, func() { w.endUnanswered(mayBeAnswered) })
		w.timer.Stop()
	}
	w.requests = append(w.requests, r)
	w.setTimer(r.ends)
}

// setTimer makes the timer fire at a time, unless it fires before.
func (w *waiting) setTimer(t time.Time) {
	if w.ending || t.IsZero() || !w.fires.IsZero() && !t.Before(w.fires) {
		return
	}
	w.fires = t
	w.timer.Reset(time.Until(t))
}

// removeRequest takes a request out, nil if it is not there.
func (w *waiting) removeRequest(id uint64) *waitingRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.requests, func(r *waitingRequest) bool { return r.id == id })
	if i < 0 {
		return nil
	}
	r := w.requests[i]
	w.requests = slices.Delete(w.requests, i, i+1)
	return r
}

// endUnanswered ends the requests that are due, in their order. Requests that a client may answer
// stay until their deadline. Meanwhile the timer does not fire again.
func (w *waiting) endUnanswered(mayBeAnswered func() bool) {
	for _, r := range w.takeUnanswered(time.Now(), mayBeAnswered()) {
		r.reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = false
	for _, r := range w.requests {
		w.setTimer(r.ends)
	}
}

func (w *waiting) takeUnanswered(now time.Time, mayBeAnswered bool) (ended []*waitingRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fires, w.ending = time.Time{}, true
	kept := w.requests[:0]
	for _, r := range w.requests {
		switch {
		case r.ends.IsZero() || now.Before(r.ends):
			kept = append(kept, r)
		case r.ends.Equal(r.deadline): // The owner answers it.
		case mayBeAnswered:
			r.ends = r.deadline
			kept = append(kept, r)
		default:
			ended = append(ended, r)
		}
	}
	clear(w.requests[len(kept):])
	w.requests = kept
	return ended
}
