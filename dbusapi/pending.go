package dbusapi

import "sync"

// pending is the calls made without the library that have had no reply. A call
// whose caller gave it up stays: the message bus counts it too, and its late
// reply must reach nobody else.
type pending struct {
	mu    sync.Mutex
	calls map[uint32]owedReply // by serial
	late  uint64               // replies to calls that were given up
}

// owedReply is what to do when a call has its reply, a method return or an error.
// The reading goroutine does it: it must not block.
type owedReply struct {
	// ended is called first, also of a call that was given up.
	ended func()
	// reply keeps nothing of the message. Of a call that was given up it is nil.
	reply func(wireMessage)
}

// add waits for the reply to a call. More calls than limit are refused: false.
func (p *pending) add(serial uint32, limit int, owed owedReply) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) >= limit {
		return false
	}
	if p.calls == nil {
		p.calls = make(map[uint32]owedReply)
	}
	p.calls[serial] = owed
	return true
}

// giveUp reports whether a call will hear of no reply. Otherwise it has one, or
// has it in a moment.
func (p *pending) giveUp(serial uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	owed, ok := p.calls[serial]
	if !ok {
		return false
	}
	owed.reply = nil
	p.calls[serial] = owed
	return true
}

// take ends the call that a message is the reply to, if there is one.
func (p *pending) take(m wireMessage) bool {
	p.mu.Lock()
	owed, ok := p.calls[m.replySerial]
	delete(p.calls, m.replySerial)
	// That somebody has left is no late answer of his.
	if ok && owed.reply == nil && string(m.sender) != busName {
		p.late++
	}
	p.mu.Unlock()
	if !ok {
		return false
	}
	owed.ended()
	if owed.reply != nil {
		owed.reply(m)
	}
	return true
}

// countLate is how many replies have come too late.
func (p *pending) countLate() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.late
}
