package dbusapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

const (
	// maxBacklog is how many calls of one program wait to be served.
	maxBacklog = 128
	// maxBacklogs is how many bytes of calls of all clients may wait. A program, and a user other
	// than root, has at most as many as it leaves to others, so that these find some.
	maxBacklogs = 2 << 20

	// maxActs is how many acts are served at a time, one of each client.
	maxActs = 32

	// maxUnread is how many bytes may wait for the message bus when a read is served, so that
	// other replies find few before them.
	maxUnread = 16 << 10

	minShared = 4 << 10 // bytes of a reply that is shared
	maxShared = 8       // replies at a time
)

// line is the clients whose first call waits to be served, in order.
type line struct {
	clients []*client
	ready   chan struct{} // wakes the goroutine that serves the line
}

// waitingCall is a call that waits to be served.
type waitingCall struct {
	to      dbuswire.ReplyTo
	objects *objects // of the connection that the call came by
	raw     []byte   // the message
	number  uint64   // in order of arrival
	placed  bool     // it has its place in the program's share

	method boundMethod // of the first call of a client
	failed *dbus.Error
}

func (w *waitingCall) length() int { return len(w.raw) + callOverhead }

func (w *waitingCall) message() *dbuswire.Message {
	m, _ := dbuswire.Parse(w.raw) // It was a message when it was read.
	return &m
}

// calls returns the dbuswire.Config.Call of a connection with these objects. It serves calls that
// send at once, and also quick calls, if no other call of the client waits. Other calls wait. It
// leaves only calls without a sender to godbus.
func (s *Server) calls(objects *objects) func(*dbuswire.Conn, *dbuswire.Message) bool {
	return func(from *dbuswire.Conn, m *dbuswire.Message) bool {
		if len(m.Sender) == 0 {
			return false
		}
		method, failed := objects.findMethod(m)
		switch {
		case failed == nil && method.send != nil:
			s.startCall(from, m, method)
		case failed == nil && method.reads && !m.WantsReply():
			// The result would go nowhere.
		case (failed != nil || method.quick != nil) && !s.clients.hasWaiting(m.Sender):
			to := from.ReplyTo(m)
			to.Destination = string(m.Sender)
			s.serveQuick(&to, m.Raw, method, failed)
		default:
			s.queueCall(from, objects, m)
		}
		return true
	}
}

// queueCall has a call wait, or refuses it at once.
func (s *Server) queueCall(from *dbuswire.Conn, objects *objects, m *dbuswire.Message) {
	w := &waitingCall{to: from.ReplyTo(m), objects: objects, raw: m.Raw}
	w.to.Destination = string(m.Sender)
	one := s.clients.findClient(m.Sender)
	if !s.clients.queueWaiting(one, w, m.Owned) {
		w.refuse()
	}
	s.clients.identify(one)
}

func (w *waitingCall) refuse() {
	w.to.Fail(&dbus.Error{Name: xml.ErrorLimits, Body: []any{"too many calls wait to be served: wait for replies"}})
}

// hasWaiting reports whether calls of a client wait, or are being served.
func (c *clients) hasWaiting(name []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.known[string(name)]
	return one != nil && len(one.waiting) > 0
}

// queueWaiting makes a call wait, and reports whether there is room. owned says that the call's
// memory may be kept.
func (c *clients) queueWaiting(one *client, w *waitingCall, owned bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil || one.gone || !c.admitWaiting(one, w) {
		return false
	}
	w.number = c.arrived.Add(1)
	if !owned {
		w.raw = bytes.Clone(w.raw)
	}
	one.waiting = append(one.waiting, w)
	if len(one.waiting) == 1 {
		c.enterLine(one)
	}
	return true
}

// admitWaiting gives a call its place, or room until its client is identified, with c.mu held.
func (c *clients) admitWaiting(one *client, w *waitingCall) bool {
	admission := c.takePlace(one, w)
	if admission != bus.Unsure {
		return admission == bus.Admitted
	}
	if len(one.waiting) >= maxBacklog || !c.reserve(one, w.length()) {
		return false
	}
	if !one.placing && !one.Await(func() { c.placeWaiting(one) }) { // It was identified just now.
		c.unreserve(one, w.length())
		return c.admitWaiting(one, w)
	}
	one.placing = true
	return true
}

// takePlace gives a call its place if there is one.
func (c *clients) takePlace(one *client, w *waitingCall) bus.Admission {
	admission := c.counts.Enter(&one.Client, 1)
	if admission != bus.Admitted {
		return admission
	}
	if admission = c.bytes.Enter(&one.Client, w.length()); admission != bus.Admitted {
		c.counts.Leave(&one.Client, 1)
	}
	w.placed = admission == bus.Admitted
	return admission
}

// placeWaiting gives the calls of a client that has been identified their places, and refuses the
// calls that find no place. The first one may be in progress.
func (c *clients) placeWaiting(one *client) {
	c.mu.Lock()
	one.placing = false
	var refused []*waitingCall
	for i := 0; i < len(one.waiting); i++ {
		w := one.waiting[i]
		switch {
		case w.placed:
		case c.takePlace(one, w) == bus.Admitted:
			c.unreserve(one, w.length())
		case i > 0:
			refused = append(refused, w)
			c.removeWaiting(one, i)
			i--
		}
	}
	c.mu.Unlock()
	for _, w := range refused {
		w.refuse()
	}
}

// removeWaiting removes the i-th call of a client, with c.mu held.
func (c *clients) removeWaiting(one *client, i int) {
	w := one.waiting[i]
	if w.placed {
		c.counts.Leave(&one.Client, 1)
		c.bytes.Leave(&one.Client, w.length())
	} else {
		c.unreserve(one, w.length())
	}
	one.waiting = slices.Delete(one.waiting, i, i+1)
}

// dropWaiting drops the calls of a client that has left, except the first, which may be in
// progress; c.mu is held.
func (c *clients) dropWaiting(one *client) {
	for len(one.waiting) > 1 {
		last := len(one.waiting) - 1
		one.waiting[last].to.Drop()
		c.removeWaiting(one, last)
	}
}

// enterLine puts a client in the line for its first call, with c.mu held.
func (c *clients) enterLine(one *client) {
	w := one.waiting[0]
	w.method, w.failed = w.objects.findMethod(w.message())
	l := &c.acts
	if w.failed == nil && w.method.reads {
		l = &c.reads
	}
	l.clients = append(l.clients, one)
	select {
	case l.ready <- struct{}{}:
	default: // It has been woken already.
	}
}

// nextInLine takes the first client out of a line, and calls idle before it waits for one. It
// returns nil when ctx ends.
func (c *clients) nextInLine(ctx context.Context, l *line, idle func()) (*client, *waitingCall) {
	for ctx.Err() == nil {
		if one, w := c.firstInLine(l); one != nil {
			return one, w
		}
		idle()
		select {
		case <-ctx.Done():
		case <-l.ready:
		}
	}
	return nil, nil
}

func (c *clients) firstInLine(l *line) (*client, *waitingCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(l.clients) == 0 {
		return nil, nil
	}
	one := l.clients[0]
	l.clients = slices.Delete(l.clients, 0, 1)
	return one, one.waiting[0]
}

// finishWaiting ends the first call of a client. If more of its calls wait, the client goes to the
// end of the line.
func (c *clients) finishWaiting(one *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeWaiting(one, 0)
	if len(one.waiting) > 0 {
		c.enterLine(one)
	}
}

// serveActs serves the acts of clients, one of each at a time, until ctx ends.
func (s *Server) serveActs(ctx context.Context) {
	var acts sync.WaitGroup
	defer acts.Wait()
	room := make(chan struct{}, maxActs)
	for {
		one, w := s.clients.nextInLine(ctx, &s.clients.acts, func() {})
		if one == nil {
			return
		}
		room <- struct{}{}
		acts.Go(func() {
			s.serveAct(ctx, one, w)
			s.clients.finishWaiting(one)
			<-room
		})
	}
}

// serveAct serves the first call of a client, which does not read only.
func (s *Server) serveAct(ctx context.Context, one *client, w *waitingCall) {
	switch {
	case w.failed != nil || w.method.quick != nil:
		s.serveQuick(&w.to, w.raw, w.method, w.failed)
	case w.method.send != nil:
		s.startCall(w.to.Conn, w.message(), w.method)
	default:
		ctx, end := context.WithCancel(ctx)
		defer end()
		results, err := s.callAct(ctx, end, one, w)
		sendResults(&w.to, w.method, results, err)
	}
}

// callAct calls the method of an act, within the limit of the client.
func (s *Server) callAct(ctx context.Context, end context.CancelFunc, one *client, w *waitingCall) ([]any, error) {
	args, err := arguments(w.raw, w.method)
	if err != nil {
		return nil, err
	}
	if err := s.clients.beginAct(one, end); err != nil {
		return nil, err
	}
	defer s.clients.finishAct(one) // before the reply, after which the client may call again
	return w.method.serve(ctx, &call{server: s, object: w.method.object, client: one, sender: one.name, args: args})
}

// serveQuick serves a call of a method that is quick, or that is not there.
func (s *Server) serveQuick(to *dbuswire.ReplyTo, raw []byte, method boundMethod, failed *dbus.Error) {
	if failed != nil {
		to.Fail(failed)
		return
	}
	var results []any
	args, err := arguments(raw, method)
	if err == nil && method.object != nil {
		err = s.clients.checkLimit(to.Destination)
	}
	if err == nil {
		results, err = method.quick(&call{server: s, object: method.object, sender: to.Destination, args: args})
	}
	sendResults(to, method, results, err)
}

// sendResults sends the results of a method, or its error.
func sendResults(to *dbuswire.ReplyTo, method boundMethod, results []any, err error) {
	if err != nil && method.fail != nil {
		results, err = method.fail(err)
	}
	if err != nil {
		to.Fail(asDBusError(err))
		return
	}
	to.Return(method.out, encodeBody(results))
}

// arguments reads the arguments of a call.
func arguments(raw []byte, method boundMethod) ([]any, error) {
	if method.in == "" {
		return nil, nil
	}
	msg, err := dbus.DecodeMessage(bytes.NewReader(raw))
	if err != nil {
		return nil, errArgs
	}
	return msg.Body, nil
}

// encodeBody is the body of a message with these values.
func encodeBody(values []any) []byte {
	if len(values) == 0 {
		return nil
	}
	msg := dbus.Message{Type: dbus.TypeMethodReply, Body: values, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(values...)),
	}}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		panic(err) // A test has all methods and properties reply.
	}
	m, _ := dbuswire.Parse(b.Bytes())
	return m.Body
}

// sharedReplies are replies to reads. A reply serves each equal call that had arrived when the
// reply was begun: all that the caller may know of had happened by then. So the reply is right
// also for values that change all the time, such as statistics.
type sharedReplies map[string]sharedReply // by the arguments

type sharedReply struct {
	body []byte
	last uint64 // number of the last call that had arrived
}

// serveReads serves the reads of clients, one after the other, until ctx ends. Each waits until
// the message bus has read most of the reply before.
func (s *Server) serveReads(ctx context.Context) {
	shared := make(sharedReplies)
	for {
		one, w := s.clients.nextInLine(ctx, &s.clients.reads, func() { clear(shared) })
		if one == nil {
			return
		}
		if !s.clients.isShut() {
			w.to.Conn.AwaitRead(maxUnread)
		}
		body, err := shared.replyTo(ctx, s, one, w)
		if err != nil {
			w.to.Fail(asDBusError(err))
		} else {
			w.to.Return(w.method.out, body)
		}
		s.clients.finishWaiting(one)
	}
}

// replyTo is the reply to a read.
func (r sharedReplies) replyTo(ctx context.Context, s *Server, one *client, w *waitingCall) ([]byte, error) {
	m := w.message()
	key := w.method.iface + " " + w.method.member + " " + string(m.Path) + " " + string(m.Body)
	if err := s.clients.checkLimit(one.name); err != nil {
		return nil, err
	}
	if known := r[key]; known.last >= w.number {
		return known.body, nil
	}
	last := s.clients.arrived.Load()
	args, err := arguments(w.raw, w.method)
	if err != nil {
		return nil, err
	}
	results, err := w.method.serve(ctx, &call{server: s, object: w.method.object, args: args})
	if err != nil {
		return nil, err
	}
	body := encodeBody(results)
	if len(body) >= minShared {
		if len(r) >= maxShared {
			clear(r)
		}
		r[key] = sharedReply{body, last}
	}
	return body, nil
}
