package frames

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// maxUnread is how many answers a client may leave unread, in addition to those that its
// socket holds.
const maxUnread = 1024

// peer is a client at the other end. One goroutine reads its requests and starts
// them. The goroutine that brings an answer writes it, as far as the socket has room; a
// second goroutine of the peer waits for room and writes the rest. Writing at once saves
// the change to another goroutine, which costs more than all else that is done here.
//
// The mutex is never held while a bus is used or answers are written.
type peer struct {
	server *Server
	who    Peer
	client bus.Client // the same client, as the buses know it
	conn   *net.UnixConn
	raw    syscall.RawConn

	used     atomic.Uint64 // the server's count of requests at its last one
	replaced atomic.Bool   // another client has got its place

	// Used by the reader alone.
	buffer    []byte // one byte longer than the longest packet
	exchanges []*exchange

	mu      sync.Mutex
	work    sync.Cond // for the goroutine that waits for room, and for awaitEnds
	free    []*exchange
	answers packets // to be written
	owed    int     // packets that were read and whose answer was not written
	gone    bool
	settled chan struct{} // closed when nothing is owed; nil while no drain waits
	busy    bool          // the writer is in use
	waiting bool          // the goroutine that waits for room uses it
	writer  writer        // used by the goroutine that has set busy
}

func newPeer(s *Server, conn *net.UnixConn) (*peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	who, err := credentials(raw)
	if err != nil {
		return nil, err
	}
	p := &peer{server: s, who: who, conn: conn, raw: raw, buffer: make([]byte, maxRequest+1)}
	p.client.Identify(who)
	p.work.L = &p.mu
	p.writer.init(raw)
	return p, nil
}

// serve serves the client until it hangs up, or is hung up on. ErrUnread and ErrReplaced
// are why it was.
func (p *peer) serve() error {
	var patient sync.WaitGroup
	patient.Go(p.writePatiently)
	err := p.read()
	p.hangUp()
	for _, x := range p.exchanges {
		x.call.Cancel()
	}
	patient.Wait()
	p.awaitEnds()
	if p.replaced.Load() {
		err = ErrReplaced
	}
	return err
}

// awaitEnds waits until all requests have ended, after hangUp.
func (p *peer) awaitEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) < len(p.exchanges) {
		p.work.Wait()
	}
}

// hangUp makes both goroutines end. It waits until the reader has started the request that
// it has read.
func (p *peer) hangUp() {
	p.mu.Lock()
	p.gone = true
	p.settle()
	p.mu.Unlock()
	p.work.Broadcast()
	p.conn.Close()
}

// read takes what the client sends until there is no more.
func (p *peer) read() error {
	var cause error
	ends := func(fd uintptr) bool {
		for {
			n, err := receive(int(fd), p.buffer)
			switch {
			case err == errNothing:
				return false
			case err != nil:
				return true
			}
			if cause = p.take(p.buffer[:n]); cause != nil {
				return true
			}
		}
	}
	_ = p.raw.Read(ends) // An error is that of a connection that was closed.
	return cause
}

// take starts the request in a packet, or refuses it.
func (p *peer) take(packet []byte) error {
	index, frame, status := parseRequest(packet)
	var to *bus.Bus
	if status == ipmb.StatusOK {
		if to = p.server.config.Bus(index); to == nil {
			status = ipmb.StatusInvalid
		}
	}
	x, status, err := p.enter(status)
	switch {
	case err != nil:
		return err
	case x != nil:
		x.send(to, packet, frame)
	default:
		p.refuse(index, status, packet)
	}
	return nil
}

// enter begins a request: with an exchange, unless a status says why not. An error is that
// of a client that is hung up on.
func (p *peer) enter(status ipmb.Status) (*exchange, ipmb.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone: // Whoever hangs up waits for the reader.
		return nil, 0, net.ErrClosed
	case p.owed-p.inProgress() >= maxUnread:
		return nil, 0, ErrUnread
	}
	p.owed++
	var x *exchange
	if status == ipmb.StatusOK {
		x, status = p.begin()
	}
	p.used.Store(p.server.counters.request(status))
	return x, status, nil
}

// refuse answers a request that has no exchange.
func (p *peer) refuse(index uint8, status ipmb.Status, packet []byte) {
	p.mu.Lock()
	p.answers.addStatus(index, status, headOf(packet))
	p.unlockAndWrite()
}

// inProgress is how many requests have not ended.
func (p *peer) inProgress() int { return len(p.exchanges) - len(p.free) }

// begin takes an exchange for a request, unless too many are in use.
func (p *peer) begin() (*exchange, ipmb.Status) {
	switch {
	case p.server.stopping.Load():
		return nil, ipmb.StatusFailed
	case int64(p.inProgress()) >= p.server.maxCalls.Load():
		return nil, ipmb.StatusBusy
	case len(p.free) == 0:
		x := newExchange(p)
		p.exchanges = append(p.exchanges, x)
		return x, ipmb.StatusOK
	}
	last := len(p.free) - 1
	x := p.free[last]
	p.free = p.free[:last]
	return x, ipmb.StatusOK
}

// end ends a request: with its answer, or with an error.
func (p *peer) end(x *exchange, r ipmi.Response, err error) {
	p.mu.Lock()
	if err != nil {
		p.answers.addStatus(x.index, ipmb.StatusOf(err), x.head[:])
	} else {
		p.answers.addAnswer(x.index, x.frame.Response(r.Code, r.Data))
	}
	p.release(x)
	p.unlockAndWrite()
}

// release makes an exchange ready for the next request.
func (p *peer) release(x *exchange) {
	p.free = append(p.free, x)
	if p.gone {
		p.work.Broadcast()
	}
}

// unlockAndWrite unlocks the mutex and writes the answers, unless another goroutine is
// writing, which then writes these too.
func (p *peer) unlockAndWrite() {
	first := p.begins()
	p.mu.Unlock()
	if first {
		p.writeNow()
	}
}

// begins takes the writer and the answers to be written. It returns false if another
// goroutine has the writer, which then writes these too.
func (p *peer) begins() bool {
	if p.busy {
		return false
	}
	p.busy = true
	p.answers, p.writer.packets = p.writer.packets, p.answers
	return true
}

// writeNow writes what the socket has room for.
func (p *peer) writeNow() {
	all := p.writer.writeSome()
	p.mu.Lock()
	defer p.mu.Unlock()
	if all && p.written() {
		return
	}
	p.waiting = true
	p.work.Signal()
}

// written notes that the writer has written all it had, and gives it back unless
// there is more.
func (p *peer) written() bool {
	p.owed -= p.writer.packets.len()
	p.writer.reset()
	if p.owed == 0 {
		p.settle()
	}
	p.busy = false
	return p.answers.len() == 0 || !p.begins()
}

// writePatiently writes the answers for which the socket had no room, until the client has
// gone.
func (p *peer) writePatiently() {
	for p.waits() {
		if p.writer.writeAll() != nil {
			p.hangUp() // It has gone, as a rule.
			return
		}
		p.mu.Lock()
		p.waiting = !p.written()
		p.mu.Unlock()
	}
}

// waits waits for something to be written. It returns false if the client has gone.
func (p *peer) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.waiting && !p.gone {
		p.work.Wait()
	}
	return !p.gone
}

// settle ends the wait of drain: nothing is owed to the client any more.
func (p *peer) settle() {
	if p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// drain waits until nothing is owed to the client, at most until ctx ends.
func (p *peer) drain(ctx context.Context) {
	p.mu.Lock()
	if p.owed == 0 || p.gone {
		p.mu.Unlock()
		return
	}
	if p.settled == nil {
		p.settled = make(chan struct{})
	}
	settled := p.settled
	p.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
