package frames

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

// A client that does not read fills its socket. Then writeToSlowClient waits for room, and packets
// gather in peer.unsent: maxUnread of them at most, since admitRequest returns ErrUnread for the
// next request, which makes the server close the connection. Other clients and the buses do not
// notice.

// maxUnread is how many packets a client may leave unread, in addition to those that its socket
// holds.
const maxUnread = 1024

// startWriting takes the writer and the packets that wait. It returns false if another goroutine
// has the writer; that goroutine then writes these packets, too. The caller holds the mutex.
func (p *peer) startWriting() bool {
	if p.writing {
		return false
	}
	p.writing = true
	p.unsent, p.writer.packets = p.writer.packets, p.unsent
	return true
}

// writeUnsent writes as much as the socket has room for, and leaves the rest to writeToSlowClient.
func (p *peer) writeUnsent() {
	all := p.writer.writeSome()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !all || !p.finishWriting() {
		p.slow = true
		p.work.Signal()
	}
}

// finishWriting gives the writer back when it has written all its packets. If there are more, it
// keeps the writer and returns false. The caller holds the mutex.
func (p *peer) finishWriting() bool {
	p.owed -= p.writer.packets.len()
	p.writer.reset()
	if p.owed == 0 {
		p.settle()
	}
	p.writing = false
	return p.unsent.len() == 0 || !p.startWriting()
}

// writeToSlowClient writes the packets for which the socket had no room, until the client has
// gone.
func (p *peer) writeToSlowClient() {
	for p.awaitSlow() {
		if p.writer.writeAll() != nil {
			p.hangUp() // Usually the client has gone.
			return
		}
		p.mu.Lock()
		p.slow = !p.finishWriting()
		p.mu.Unlock()
	}
}

// awaitSlow waits until packets are left to be written. It returns false if the client has gone.
func (p *peer) awaitSlow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.slow && !p.gone {
		p.work.Wait()
	}
	return !p.gone
}

// settle ends the wait of drain.
func (p *peer) settle() {
	if p.settled != nil {
		close(p.settled)
		p.settled = nil
	}
}

// drain waits until the client has all its answers, at most until ctx ends.
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

// writer writes packets to a socket. One goroutine at a time uses it.
type writer struct {
	packets packets
	next    int // to be written
	err     error
	raw     syscall.RawConn
	// some and once are made once, so that writing allocates nothing.
	some func(fd uintptr) bool
	once func(fd uintptr)
	all  bool // of once: everything is written
}

func (w *writer) init(raw syscall.RawConn) {
	w.raw = raw
	w.some = w.write
	w.once = func(fd uintptr) { w.all = w.write(fd) && w.err == nil }
}

// reset makes the writer ready for other packets.
func (w *writer) reset() {
	w.packets.reset()
	w.next = 0
}

// writeSome writes as much as the socket has room for, and reports whether that is all.
func (w *writer) writeSome() bool {
	w.all = false
	return w.raw.Control(w.once) == nil && w.all
}

// writeAll writes the rest, as fast as the client reads.
func (w *writer) writeAll() error {
	if err := w.raw.Write(w.some); err != nil {
		return err
	}
	return w.err
}

// write writes as much as the socket has room for. It returns false if there is more.
func (w *writer) write(fd uintptr) bool {
	for ; w.next < w.packets.len(); w.next++ {
		_, err := socket.WriteNow(fd, w.packets.packet(w.next))
		if err == unix.EAGAIN {
			return false
		}
		if w.err = err; err != nil {
			return true
		}
	}
	return true
}
