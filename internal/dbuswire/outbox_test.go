package dbuswire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// newTestOutbox is an outbox and the socket of the message bus.
func newTestOutbox(t testing.TB) (o *outbox, reader *net.UnixConn, r *replies) {
	t.Helper()
	ours, theirs := streamPair(t)
	r = new(replies)
	o = newOutbox(ours, r)
	t.Cleanup(func() {
		_ = ours.Close()
		o.close()
		<-o.ended
	})
	return o, theirs, r
}

// tally is a receipt that counts.
type tally struct {
	t             *testing.T
	leaves, lefts atomic.Int32
}

func (c *tally) Leaving() { c.leaves.Add(1) }

func (c *tally) Left() {
	if c.lefts.Add(1) > c.leaves.Load() {
		c.t.Error("a message left that was not about to")
	}
}

// testMessage is a message: its length, sender and number, and any text.
func testMessage(sender, number, length int) outgoing {
	b := make([]byte, 12+length)
	binary.LittleEndian.PutUint32(b, uint32(length))
	binary.LittleEndian.PutUint32(b[4:], uint32(sender))
	binary.LittleEndian.PutUint32(b[8:], uint32(number))
	for i := range length {
		b[12+i] = byte(sender + number + i)
	}
	return outgoing{bytes: b}
}

// readNumbered reads a message whole, as testMessage has made it.
func readNumbered(t *testing.T, r io.Reader) (sender, number int) {
	t.Helper()
	head := make([]byte, 12)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	length := int(binary.LittleEndian.Uint32(head))
	sender, number = int(binary.LittleEndian.Uint32(head[4:])), int(binary.LittleEndian.Uint32(head[8:]))
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	want := testMessage(sender, number, length)
	if got := append(head, text...); !bytes.Equal(got, want.bytes) {
		t.Fatalf("message %d of sender %d is torn", number, sender)
	}
	return sender, number
}

// Messages leave whole, each once, and a sender's in order, however many senders write
// and however slow the message bus is.
func TestMessagesLeaveWholeAndInOrder(t *testing.T) {
	const senders, each = 8, 200
	o, reader, owed := newTestOutbox(t)
	counted := &tally{t: t}
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for number := range each {
				length := rand.N(100)
				if rand.N(50) == 0 {
					length = rand.N(250_000) // more than the socket takes at once
				}
				m := testMessage(sender, number, length)
				m.reply, m.receipt = true, counted
				owed.countOwed()
				if err := o.sendMessage(m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make([]int, senders)
	for range senders * each {
		sender, number := readNumbered(t, reader)
		if number != next[sender] {
			t.Fatalf("sender %d: message %d, want %d", sender, number, next[sender])
		}
		next[sender]++
	}
	sending.Wait()
	owed.awaitNone(t.Context())
	o.awaitRoom(0)
	if leaves, lefts := counted.leaves.Load(), counted.lefts.Load(); leaves != senders*each || lefts != senders*each {
		t.Errorf("%d leave, %d have left, of %d", leaves, lefts, senders*each)
	}
}

// No sender waits for a message bus that does not read, and a message that is never
// written is reported once.
func TestNobodyWaitsForAMessageBusThatDoesNotRead(t *testing.T) {
	const count = 2000
	o, reader, owed := newTestOutbox(t)
	counted := &tally{t: t}
	for number := range count {
		m := testMessage(0, number, 10_000)
		m.reply, m.receipt = true, counted
		owed.countOwed()
		if err := o.sendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	if !o.hasMore(10 << 20) {
		t.Error("most of it does not wait")
	}
	if n := counted.lefts.Load(); n >= count/2 {
		t.Errorf("%d messages have left", n)
	}
	if sender, number := readNumbered(t, reader); sender != 0 || number != 0 {
		t.Errorf("message %d", number)
	}
	_ = o.sock.Close()
	o.close()
	<-o.ended
	owed.awaitNone(t.Context())
	if leaves, lefts := counted.leaves.Load(), counted.lefts.Load(); leaves != count || lefts != count {
		t.Errorf("%d leave, %d have left, of %d", leaves, lefts, count)
	}
	if err := o.sendMessage(outgoing{bytes: []byte{1}, receipt: counted}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("after the end: %v", err)
	}
	o.awaitRoom(0)
	if o.hasMore(0) || counted.lefts.Load() != count+1 {
		t.Error("something waits after the end")
	}
}

func TestOutboxEndsWithItsMessageBus(t *testing.T) {
	o, reader, _ := newTestOutbox(t)
	for number := range 100 {
		if err := o.sendMessage(testMessage(0, number, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	_ = reader.Close()
	o.awaitRoom(0)
	<-o.ended
	if err := o.sendMessage(outgoing{bytes: []byte{1}}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("%v", err)
	}
}

// Messages that are sent while the outbox is held leave in one write.
func TestHeldMessagesLeaveTogether(t *testing.T) {
	o, reader, _ := newTestOutbox(t)
	if !o.holdBack() || o.holdBack() {
		t.Fatal("hold")
	}
	var want []byte
	for number := range 3 {
		m := testMessage(1, number, 10)
		want = append(want, m.bytes...)
		if err := o.sendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	if !o.hasMore(len(want) - 1) {
		t.Error("it was written")
	}
	o.flushQueue()
	got := make([]byte, 1000)
	n, err := reader.Read(got)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("% X, %v", got[:n], err)
	}
	if !o.holdBack() {
		t.Error("hold after it was flushed")
	}
	o.flushQueue()
	if err := o.sendMessage(testMessage(1, 3, 1)); err != nil {
		t.Fatal(err)
	}
	readNumbered(t, reader)
}

// Flush writes the queued messages before later ones. Nothing is queued after the end.
func TestQueuedMessagesLeaveWhenFlushed(t *testing.T) {
	o, reader, _ := newTestOutbox(t)
	conn, receipt := &Conn{out: o}, &tally{t: t}
	if !conn.Queue(testMessage(1, 0, 10).bytes, receipt) || conn.Queue(testMessage(1, 1, 10).bytes, receipt) {
		t.Fatal("not the first one is to flush")
	}
	if err := conn.Send(testMessage(1, 2, 10).bytes, receipt); err != nil || receipt.leaves.Load() != 0 {
		t.Fatalf("%v, %d written", err, receipt.leaves.Load())
	}
	conn.Flush()
	for want := range 3 {
		if _, number := readNumbered(t, reader); number != want {
			t.Errorf("message %d, want %d", number, want)
		}
	}
	o.close()
	if conn.Queue(testMessage(1, 3, 10).bytes, receipt) || receipt.lefts.Load() != 4 {
		t.Errorf("%d have left", receipt.lefts.Load())
	}
}
