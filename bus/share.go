package bus

import (
	"sync"
	"sync/atomic"
)

// Process is a program that has connected. Two processes of one user are two.
type Process struct {
	PID int32 // 0 when it has none in our namespace
	UID uint32
}

const root = 0

var (
	// Unknown is all programs whose process cannot be found, together. No user has this
	// UID: chown(2) takes it for none.
	Unknown = Process{PID: 1<<31 - 1, UID: ^uint32(0)}

	// daemon is ourselves: a Call without a client.
	daemon = Process{PID: -1, UID: root}
	// unidentified is every client that was not identified so far.
	unidentified = Process{PID: -1, UID: ^uint32(0)}
)

// Client is a connection of a program. Until Identify its requests take places of those
// that are left if all that are not identified belonged to the program that has most: no
// program gains by a new connection. Those that find none wait for Identify.
type Client struct {
	process atomic.Uint64 // packed; 0 until Identify

	mu      sync.Mutex
	waiting []*Bus // that have requests which wait for Identify
}

// identified marks a packed process that Identify has set.
const identified = 1 << 31

// Identify says which process the client is; what it says first holds. It sends the
// requests that have waited for it.
func (c *Client) Identify(p Process) {
	if !c.process.CompareAndSwap(0, uint64(p.UID)<<32|identified|uint64(uint32(p.PID)&^identified)) {
		return
	}
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, b := range waiting {
		b.identified(c)
	}
}

// await has a bus told when the client is identified. It is false if that is so already.
func (c *Client) await(b *Bus) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner() != unidentified {
		return false
	}
	c.waiting = append(c.waiting, b)
	return true
}

// owner is whose places the client's requests take. A nil client is the daemon itself.
func (c *Client) owner() Process {
	if c == nil {
		return daemon
	}
	packed := c.process.Load()
	if packed&identified == 0 {
		return unidentified
	}
	return Process{PID: int32(uint32(packed) &^ identified), UID: uint32(packed >> 32)}
}

// shares counts who has the places of a bus. It is used with the mutex of the bus held.
type shares struct {
	limit     int // of all
	half      int // of a process, and of a user other than root
	used      int
	processes map[Process]int
	users     map[uint32]int  // other than root
	unknown   map[*Client]int // places of clients that were not identified so far
}

func newShares(limit int) shares {
	return shares{
		limit:     limit,
		half:      max(1, limit/2),
		processes: make(map[Process]int),
		users:     make(map[uint32]int),
		unknown:   make(map[*Client]int),
	}
}

// enter takes a place for a client, if there is one. unsure: there may be one when the
// client is identified.
func (s *shares) enter(c *Client) (ok, unsure bool) {
	for other := range s.unknown {
		s.identify(other)
	}
	p := c.owner()
	switch {
	case p == daemon:
		return true, false
	case s.used >= s.limit:
		return false, false
	case p == unidentified:
		if s.most() >= s.half {
			return false, true
		}
		s.unknown[c]++
	case s.processes[p] >= s.half, p.UID != root && s.users[p.UID] >= s.half:
		return false, false
	}
	s.used++
	s.add(p, 1)
	return true, false
}

// most is how many places a program, or a user other than root, may have that has those of
// all clients that are not identified.
func (s *shares) most() int {
	most := 0
	for p, n := range s.processes {
		if p != unidentified {
			most = max(most, n)
		}
	}
	for _, n := range s.users {
		most = max(most, n)
	}
	return most + s.processes[unidentified]
}

// leave gives a place of a client back.
func (s *shares) leave(c *Client) {
	p := c.owner()
	switch p {
	case daemon:
		return
	case unidentified:
		count(s.unknown, c, -1)
	default:
		s.identify(c)
	}
	s.used--
	s.add(p, -1)
}

// identify makes the places of a client those of its process, if that is known now.
func (s *shares) identify(c *Client) {
	p, n := c.owner(), s.unknown[c]
	if p != unidentified && n > 0 {
		delete(s.unknown, c)
		s.add(unidentified, -n)
		s.add(p, n)
	}
}

// add counts places of a process and its user.
func (s *shares) add(p Process, n int) {
	count(s.processes, p, n)
	if p.UID != root && p != unidentified {
		count(s.users, p.UID, n)
	}
}

func count[K comparable](counts map[K]int, key K, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}
