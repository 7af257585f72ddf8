package bus

import "sync/atomic"

// Process is a program that has connected. Two processes of one user are two.
type Process struct {
	PID int32 // 0 when it has none in our namespace
	UID uint32
}

const root = 0

var (
	// daemon is ourselves: a Call without a client.
	daemon = Process{PID: -1, UID: root}
	// unidentified is every client whose process is not known yet. No user has this UID:
	// chown(2) takes it for none.
	unidentified = Process{PID: -1, UID: ^uint32(0)}
)

// Client is a connection of a program. Until Identify it counts as one with all others
// that are not identified, so that nobody waits for that and new connections gain
// nothing.
type Client struct {
	process atomic.Uint64 // packed; 0 until Identify
}

// identified marks a packed process that Identify has set.
const identified = 1 << 31

// Identify says which process the client is. Requests that are on their way keep the
// place that they have.
func (c *Client) Identify(p Process) {
	c.process.Store(uint64(p.UID)<<32 | identified | uint64(uint32(p.PID)&^identified))
}

// Process is whose places the client's requests take: none of a nil Client.
func (c *Client) Process() Process {
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
	own       int // the daemon's, which are not limited
	processes map[Process]int
	users     map[uint32]int // other than root
}

func newShares(limit int) shares {
	return shares{
		limit:     limit,
		half:      max(1, limit/2),
		processes: make(map[Process]int),
		users:     make(map[uint32]int),
	}
}

// enter takes a place, if there is one for the process.
func (s *shares) enter(p Process) bool {
	switch {
	case p == daemon:
		s.own++
		return true
	case s.used >= s.limit, s.processes[p] >= s.half, p.UID != root && s.users[p.UID] >= s.half:
		return false
	}
	s.used++
	s.processes[p]++
	if p.UID != root {
		s.users[p.UID]++
	}
	return true
}

// leave gives a place back.
func (s *shares) leave(p Process) {
	if p == daemon {
		s.own--
		return
	}
	s.used--
	release(s.processes, p)
	if p.UID != root {
		release(s.users, p.UID)
	}
}

func release[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}
