package ipmb

import (
	"context"
	"time"

	"ipmbd/ipmi"
)

// Broadcast writes a request to address 00h as ipmbbridge does: a plain frame
// with sequence number 0 and the requester LUN given, to which no answer is
// expected, written up to four times until it is acknowledged. Nodes that answer
// all the same are heard by no call: number 0 is not given to the command until
// 6 s have passed, and a call that has it now takes no answer any more.
func (e *Engine) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	return await(ctx, func(done func(error)) error { return e.StartBroadcast(done, netFn, lun, cmd, data) })
}

// StartBroadcast is Broadcast that returns at once. When it returns nil, done is told
// whether the bus has taken the frame, without a lock held; it must not block.
func (e *Engine) StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	if netFn > ipmi.MaxNetFn || netFn.IsResponse() {
		return invalid("netFn %02Xh", uint8(netFn))
	}
	if lun > ipmi.MaxLUN {
		return invalid("LUN %d", lun)
	}
	e.mu.Lock()
	defer e.unlock()
	f := Frame{
		Destination: broadcastAddress,
		NetFn:       netFn,
		Source:      e.address,
		SourceLUN:   lun,
		Command:     cmd,
		Data:        data,
	}
	if err := e.undeliverable(f.Len()); err != nil {
		return err
	}
	b := e.broadcast(keyOf(netFn, cmd))
	b.pending++
	e.deliver(&delivery{frame: f.Append(nil), done: done, broadcast: b})
	return nil
}

// broadcast holds number 0 of all responders for a command, since any of them
// may answer a broadcast.
type broadcast struct {
	deadline // when the last answer may have come
	key      commandKey
	pending  int // frames that are not written yet
}

// broadcast takes number 0 from the calls of a command, and keeps it from
// others.
func (e *Engine) broadcast(key commandKey) *broadcast {
	for _, r := range e.responders {
		if r != nil && r.numbers[0].call != nil && r.numbers[0].key == key {
			r.numbers[0].shared = true
		}
	}
	b := e.broadcasts[key]
	if b == nil {
		b = &broadcast{key: key}
		b.owner = b
		e.broadcasts[key] = b
	}
	e.unset(&b.deadline)
	return b
}

// sent notes that a frame was written or given up.
func (b *broadcast) sent(e *Engine) {
	if b.pending--; b.pending == 0 {
		e.set(&b.deadline, e.now()+holdTime)
	}
}

// expire lets calls have number 0 again.
func (b *broadcast) expire(e *Engine, now time.Duration) {
	delete(e.broadcasts, b.key)
	for _, r := range e.responders {
		if r != nil {
			e.admit(r, now)
		}
	}
}

// broadcastHolds is the set of numbers that broadcasts hold for a command.
func (e *Engine) broadcastHolds(key commandKey) uint64 {
	if len(e.broadcasts) > 0 && e.broadcasts[key] != nil {
		return 1 << 0
	}
	return 0
}
