package dbuswire

import (
	"sync"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

const (
	// maxGather is how many bytes of messages one write takes.
	maxGather = 16 << 10
	// maxTurns is how often a sender writes the messages that others have queued meanwhile, before
	// it leaves them to the writer.
	maxTurns = 8
	// maxIdle is for how many messages memory is kept.
	maxIdle = 1024
)

// outgoing is a message, or several whole ones in a row.
type outgoing struct {
	bytes   []byte
	reply   bool // it is the reply to a call
	receipt Receipt
}

// Receipt follows a message on its way out. Its methods must not block.
type Receipt interface {
	// Leaving is called before the first write: the receiver may have the message from then on.
	Leaving()
	// Left is called when the message has been written, or will never be: its memory may be used
	// again.
	Left()
}

// outbox sends the messages of a connection, in order. send never waits: the sender itself writes
// as much as the socket takes, unless another goroutine is writing. The rest, and messages that
// are sent meanwhile, are queued, and the writer writes them when the socket has room. No lock is
// held over a write.
//
// The outbox has no bound of its own. Each kind of message has one: the connection counts
// calls, and the server counts replies and signals until they leave.
type outbox struct {
	sock    *socket.Conn
	replies *replies
	ended   chan struct{} // closed when the writer has returned

	mu     sync.Mutex
	work   sync.Cond // handed or closed has become true
	room   sync.Cond // queued has become less, or the outbox is closed
	queue  []outgoing
	first  int  // in queue; messages before it are written
	queued int  // bytes in queue
	busy   bool // a sender or the writer writes; otherwise queue is empty
	handed bool // a sender leaves the rest to the writer
	closed bool

	// The goroutine that writes uses the following.
	tried  int    // messages from first on whose first write has begun
	offset int    // bytes of the first message that are written
	gather []byte // several messages
	next   []byte // to be written
	wait   bool   // until the socket has room
	n      int    // bytes written
	err    error
	try    func(fd uintptr) bool
}

// newOutbox makes an outbox and starts its writer, which ends after close.
func newOutbox(sock *socket.Conn, replies *replies) *outbox {
	o := &outbox{sock: sock, replies: replies, ended: make(chan struct{})}
	o.work.L, o.room.L = &o.mu, &o.mu
	o.try = o.writeNext
	go o.runWriter()
	return o
}

// sendMessage sends a message and does not block. The message belongs to the outbox from then on.
// ErrDisconnected means that it will never be written.
func (o *outbox) sendMessage(m outgoing) error {
	switch writes, ok := o.enqueueMessage(m); {
	case !ok:
		return ErrDisconnected
	case writes:
		o.flushQueue()
	}
	return nil
}

// enqueueMessage queues a message. writes says that the caller must call flushQueue. It is not ok
// when the outbox is closed: the message is dropped.
func (o *outbox) enqueueMessage(m outgoing) (writes, ok bool) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		o.dropMessage(m, false)
		return false, false
	}
	o.queue = append(o.queue, m)
	o.queued += len(m.bytes)
	writes = !o.busy
	o.busy = true
	o.mu.Unlock()
	return writes, true
}

// holdBack keeps messages from being written until flushQueue. If a goroutine is writing, it does
// nothing and returns false.
func (o *outbox) holdBack() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy || o.closed {
		return false
	}
	o.busy = true
	return true
}

// flushQueue writes as much as the socket takes at once, and leaves the rest to the writer. The
// caller is the goroutine that writes.
func (o *outbox) flushQueue() {
	o.wait = false
	queue := o.nextQueue(0)
	for turn := 0; len(queue) > 0; turn++ {
		if turn == maxTurns || turn > 0 && o.err == unix.EAGAIN {
			o.handOver()
			return
		}
		queue = o.nextQueue(o.writeOnce(queue))
	}
}

// handOver leaves the rest to the writer.
func (o *outbox) handOver() {
	o.mu.Lock()
	closed := o.closed
	o.handed = !closed
	o.work.Signal()
	o.mu.Unlock()
	if closed {
		o.nextQueue(0)
	}
}

// runWriter writes the messages that senders leave to it, until the outbox is closed.
func (o *outbox) runWriter() {
	defer close(o.ended)
	for o.takeOver() {
		o.wait = true
		for queue := o.nextQueue(0); len(queue) > 0; {
			queue = o.nextQueue(o.writeOnce(queue))
		}
	}
}

// takeOver waits until a sender hands over. It is false when the writer is to end.
func (o *outbox) takeOver() (handed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.handed && !o.closed {
		o.work.Wait()
	}
	handed, o.handed = o.handed, false
	return handed
}

// nextQueue removes messages that are written from the queue, and returns the rest. When no
// message is left, or the outbox is closed, the goroutine no longer writes.
func (o *outbox) nextQueue(written int) (queue []outgoing) {
	o.mu.Lock()
	o.removeWritten(written)
	queue = o.queue[o.first:]
	if !o.closed && len(queue) > 0 {
		o.mu.Unlock()
		return queue
	}
	tried := o.tried
	o.endWriting()
	o.mu.Unlock()
	for i, m := range queue {
		o.dropMessage(m, i < tried)
	}
	return nil
}

// removeWritten removes messages from the queue, with o.mu held.
func (o *outbox) removeWritten(count int) {
	if count == 0 {
		return
	}
	for i := range count {
		m := &o.queue[o.first+i]
		o.queued -= len(m.bytes)
		*m = outgoing{}
	}
	o.first += count
	if o.first > maxIdle && o.first > len(o.queue)/2 {
		kept := copy(o.queue, o.queue[o.first:])
		clear(o.queue[kept:])
		o.queue, o.first = o.queue[:kept], 0
	}
	o.room.Broadcast()
}

// endWriting empties the queue and ends the writing, with o.mu held.
func (o *outbox) endWriting() {
	if len(o.queue) > o.first || cap(o.queue) > maxIdle {
		o.queue = nil
	}
	o.queue, o.first, o.queued = o.queue[:0], 0, 0
	o.tried, o.offset = 0, 0
	o.busy = false
	o.room.Broadcast()
}

// writeOnce writes once, and gives how many messages of the queue are written to their ends.
func (o *outbox) writeOnce(queue []outgoing) (written int) {
	o.fillNext(queue)
	o.n = 0
	if err := o.sock.WriteWhenReady(o.try); err != nil {
		o.err = err
	}
	written = o.countWritten(queue)
	if o.err != nil && o.err != unix.EAGAIN {
		_ = o.sock.Close() // The reader finds out.
		o.close()
	}
	return written
}

// fillNext sets next to the bytes to be written: as many messages of the queue as fit together, or
// the rest of one.
func (o *outbox) fillNext(queue []outgoing) {
	o.noteLeaving(&queue[0], 0)
	if len(queue) == 1 || len(queue[0].bytes) > maxGather {
		o.next = queue[0].bytes[o.offset:]
		return
	}
	o.gather = o.gather[:0]
	for i := range queue {
		m := &queue[i]
		if i > 0 && len(o.gather)+len(m.bytes) > maxGather {
			break
		}
		o.noteLeaving(m, i)
		o.gather = append(o.gather, m.bytes...)
	}
	o.next = o.gather[o.offset:]
}

// noteLeaving calls Leaving of the i-th message's receipt before its first write.
func (o *outbox) noteLeaving(m *outgoing, i int) {
	if i < o.tried {
		return
	}
	o.tried = i + 1
	if m.receipt != nil {
		m.receipt.Leaving()
	}
}

// writeNext writes next to the socket, which does not block.
func (o *outbox) writeNext(fd uintptr) bool {
	o.n, o.err = socket.WriteNow(fd, o.next)
	return o.err != unix.EAGAIN || !o.wait
}

// countWritten is how many messages are written to their ends.
func (o *outbox) countWritten(queue []outgoing) (count int) {
	o.offset += max(o.n, 0)
	for count < len(queue) && o.offset >= len(queue[count].bytes) {
		m := &queue[count]
		o.offset -= len(m.bytes)
		if m.reply {
			o.replies.countReply()
		}
		if m.receipt != nil {
			m.receipt.Left()
		}
		count++
	}
	o.tried -= count
	return count
}

// dropMessage ends a message that is never written.
func (o *outbox) dropMessage(m outgoing, tried bool) {
	if m.reply {
		o.replies.countReply()
	}
	if m.receipt == nil {
		return
	}
	if !tried {
		m.receipt.Leaving()
	}
	m.receipt.Left()
}

// awaitRoom returns when at most this many bytes wait to be written, or the outbox is closed.
func (o *outbox) awaitRoom(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queued > bytes && !o.closed {
		o.room.Wait()
	}
}

// unread returns how many bytes in the socket the message bus has not read, including the kernel's
// overhead for them (unix(7), SIOCOUTQ).
func (o *outbox) unread() int {
	n := 0
	_ = o.sock.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// hasMore reports whether more than this many bytes wait to be written.
func (o *outbox) hasMore(bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued > bytes && !o.closed
}

// close ends the outbox, whose socket is closed: a write that waits returns. Messages in the
// queue are never written. It may be called more than once, and does not wait.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.work.Signal()
	o.room.Broadcast()
}
