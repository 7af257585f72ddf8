package host

import "sync"

// turn keeps answers with their requests where the medium does not number them:
// the driver takes what is written for the answer to what was read last, so the
// answer to a request that the host has given up must not be written.
type turn struct {
	// mu makes one of looking and writing, and of reading and noting that. It is
	// held over system calls, but such that wait for nothing.
	mu   sync.Mutex
	tag  uint8 // of the request that was read last
	open bool  // it has no answer yet
}

// begin is the turn of a request that was read, and its tag.
func (t *turn) begin() (tag uint8) {
	t.tag++
	t.open = true
	return t.tag
}

// end reports whether the request with a tag is the one to be answered now.
func (t *turn) end(tag uint8) bool {
	ok := t.open && t.tag == tag
	if ok {
		t.open = false
	}
	return ok
}

// drop ends the turn without an answer.
func (t *turn) drop() { t.open = false }
