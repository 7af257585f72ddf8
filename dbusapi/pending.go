package dbusapi

import "sync"

// pending is the calls made without the library that have had no reply. A call
// whose caller gave it up stays: the message bus counts it too, and its late
// reply must reach nobody else.
type pending struct {
	mu    sync.Mutex
	calls map[uint32]func(wireMessage) // by serial
}

// add says what to do with the reply to a call, a method return or an error. It
// is done by the reading goroutine, must not block, and keeps nothing of the
// message. More calls than limit are refused: false.
func (p *pending) add(serial uint32, limit int, reply func(wireMessage)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) >= limit {
		return false
	}
	if p.calls == nil {
		p.calls = make(map[uint32]func(wireMessage))
	}
	p.calls[serial] = reply
	return true
}

// take ends the call that a message is the reply to, if there is one.
func (p *pending) take(m wireMessage) bool {
	p.mu.Lock()
	reply, ok := p.calls[m.replySerial]
	delete(p.calls, m.replySerial)
	p.mu.Unlock()
	if ok {
		reply(m)
	}
	return ok
}
