package dbusapi

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

const (
	// maxGather is how many bytes of messages one write takes along.
	maxGather = 16 << 10
	// maxTurns is how often a sender writes what others have queued meanwhile,
	// before it leaves that to the writer.
	maxTurns = 8
	// maxIdle is how many messages there is memory for while there are less.
	maxIdle = 1024
)

// outgoing is a message, or several whole ones in a row.
type outgoing struct {
	head []byte
	body []byte // follows the head; it may be shared with other messages, or be nil
	// reply: it is the reply to a call.
	reply   bool
	receipt receipt // nil if nothing is to be told
}

func (m *outgoing) length() int { return len(m.head) + len(m.body) }

// receipt is told what becomes of a message. Its methods must not block.
type receipt interface {
	// leaving comes before the first write: the receiver may have the message
	// from then on.
	leaving()
	// left comes when the message is written or will never be: its memory may be
	// used again.
	left()
}

// outbox holds what leaves by a connection, in order. send never waits: a sender writes
// to the socket itself, as much as that takes at once, unless another goroutine is writing.
// The rest, and what is sent meanwhile, is queued; the writer writes it when the socket
// has room. No lock is held over a write.
//
// The outbox has no bound of its own. Each kind of message has one: calls of ours
// are counted by pending, replies by callers and callQueue until they leave, and
// those that send much else wait for room first.
type outbox struct {
	sock    *socket.Conn
	replies *replies
	ended   chan struct{} // closed when the writer has returned

	mu     sync.Mutex
	work   sync.Cond // handed or closed have become true
	room   sync.Cond // queued has become less, or the outbox is closed
	queue  []outgoing
	first  int  // in queue; what is before it has been written
	queued int  // bytes in queue
	busy   bool // a sender or the writer writes; otherwise queue is empty
	handed bool // a sender that was busy leaves the rest to the writer
	closed bool

	// Of the goroutine that is busy.
	tried  int    // messages from first on whose first write has begun
	offset int    // bytes of the first message that are written
	gather []byte // several messages
	next   []byte // to be written
	wait   bool   // until the socket has room
	n      int    // bytes written
	err    error
	try    func(fd uintptr) bool
}

// newOutbox begins to send by a socket. close ends it.
func newOutbox(sock *socket.Conn, replies *replies) *outbox {
	o := &outbox{sock: sock, replies: replies, ended: make(chan struct{})}
	o.work.L, o.room.L = &o.mu, &o.mu
	o.try = o.write
	go o.run()
	return o
}

// send sends a message and does not block. The message belongs to the outbox from
// then on. ErrDisconnected means that it will never be written.
func (o *outbox) send(m outgoing) error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		m.lose(o.replies, false)
		return ErrDisconnected
	}
	o.queue = append(o.queue, m)
	o.queued += m.length()
	if o.busy {
		o.mu.Unlock()
		return nil
	}
	o.busy = true
	o.mu.Unlock()
	o.flush()
	return nil
}

// flush writes what the socket takes at once, for a sender that is busy.
func (o *outbox) flush() {
	o.wait = false
	for range maxTurns {
		if !o.turn() {
			return
		}
		if o.err == unix.EAGAIN {
			break
		}
	}
	o.hand()
}

// hold keeps what is sent from being written until flush, unless a goroutine is writing. It
// reports whether it does.
func (o *outbox) hold() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy || o.closed {
		return false
	}
	o.busy = true
	return true
}

// hand leaves the rest to the writer.
func (o *outbox) hand() {
	o.mu.Lock()
	if o.closed {
		o.rest()
		return
	}
	o.handed = true
	o.work.Signal()
	o.mu.Unlock()
}

// run is the writer.
func (o *outbox) run() {
	defer close(o.ended)
	for o.takeOver() {
		o.wait = true
		for o.turn() {
		}
	}
}

// takeOver waits until the writer is to be busy; false means that it is to end.
func (o *outbox) takeOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.handed && !o.closed {
		o.work.Wait()
	}
	taken := o.handed
	o.handed = false
	return taken
}

// turn writes once, for the goroutine that is busy. It reports whether there is more to
// write; if not, that goroutine is no longer busy.
func (o *outbox) turn() bool {
	o.mu.Lock()
	queue := o.queue[o.first:]
	if o.closed || len(queue) == 0 {
		o.rest()
		return false
	}
	o.mu.Unlock()

	o.fill(queue)
	o.n = 0
	if err := o.sock.WriteWhenReady(o.try); err != nil {
		o.err = err
	}
	written := o.written(queue)
	if o.err != nil && o.err != unix.EAGAIN {
		_ = o.sock.Close() // The reader finds out.
		o.close()
	}

	o.mu.Lock()
	o.forget(written)
	if o.closed || o.first == len(o.queue) {
		o.rest()
		return false
	}
	o.mu.Unlock()
	return true
}

// forget takes messages that are written off the queue; o.mu is held.
func (o *outbox) forget(count int) {
	if count == 0 {
		return
	}
	for i := range count {
		m := &o.queue[o.first+i]
		o.queued -= m.length()
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

// rest is the end of being busy, with o.mu held, which it unlocks. Of a closed
// outbox nothing is left.
func (o *outbox) rest() {
	dropped := o.queue[o.first:]
	o.queue, o.first, o.queued = o.queue[:0], 0, 0
	if len(dropped) > 0 || cap(o.queue) > maxIdle {
		o.queue = nil
	}
	tried := o.tried
	o.tried, o.offset = 0, 0
	o.busy = false
	o.room.Broadcast()
	o.mu.Unlock()
	for i := range dropped {
		dropped[i].lose(o.replies, i < tried)
	}
}

// fill makes next what is to be written of a queue that is not empty: as many
// messages as fit together, or the rest of a part of a large one.
func (o *outbox) fill(queue []outgoing) {
	m := &queue[0]
	o.leave(m, 0)
	if m.length() > maxGather || len(queue) == 1 && m.body == nil {
		o.next = m.head
		at := o.offset
		if at >= len(m.head) {
			o.next, at = m.body, at-len(m.head)
		}
		o.next = o.next[at:]
		return
	}
	o.gather = o.gather[:0]
	for i := range queue {
		m := &queue[i]
		if i > 0 && len(o.gather)+m.length() > maxGather {
			break
		}
		o.leave(m, i)
		o.gather = append(append(o.gather, m.head...), m.body...)
	}
	o.next = o.gather[o.offset:]
}

// leave tells of the first write of the i-th message.
func (o *outbox) leave(m *outgoing, i int) {
	if i < o.tried {
		return
	}
	o.tried = i + 1
	if m.receipt != nil {
		m.receipt.leaving()
	}
}

// write writes next to the socket, which does not block.
func (o *outbox) write(fd uintptr) bool {
	o.n, o.err = socket.WriteNow(fd, o.next)
	return o.err != unix.EAGAIN || !o.wait
}

// written is how many messages are written to their ends.
func (o *outbox) written(queue []outgoing) int {
	o.offset += max(o.n, 0)
	count := 0
	for count < len(queue) && o.offset >= queue[count].length() {
		m := &queue[count]
		o.offset -= m.length()
		if m.reply {
			o.replies.give()
		}
		if m.receipt != nil {
			m.receipt.left()
		}
		count++
	}
	o.tried -= count
	return count
}

// lose is the end of a message that is never written.
func (m *outgoing) lose(replies *replies, tried bool) {
	if m.reply {
		replies.give()
	}
	if m.receipt == nil {
		return
	}
	if !tried {
		m.receipt.leaving()
	}
	m.receipt.left()
}

// await returns when at most so many bytes wait to be written, or the outbox is
// closed.
func (o *outbox) await(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queued > bytes && !o.closed {
		o.room.Wait()
	}
}

// awaitRead returns when at most so many bytes wait for the message bus, with those in
// the socket's buffer. The kernel does not tell of these, so that they are looked at
// once in a millisecond, while there are more.
func (o *outbox) awaitRead(bytes int) {
	for o.await(bytes); o.unread() > bytes; o.await(bytes) {
		time.Sleep(time.Millisecond)
	}
}

// unread is how many bytes the message bus has not read of what is written, with
// what the kernel needs for them (unix(7), SIOCOUTQ).
func (o *outbox) unread() int {
	n := 0
	_ = o.sock.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// has reports whether more than so many bytes wait to be written.
func (o *outbox) has(bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued > bytes && !o.closed
}

// close ends the outbox, whose socket is closed: a write that waits returns. What
// is queued is never written. It may be called more than once, and does not wait.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.work.Signal()
	o.room.Broadcast()
}
