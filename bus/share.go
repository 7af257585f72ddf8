package bus

import (
	"sync"
	"sync/atomic"
)

// Process is a program that has connected. Two processes of one user are two programs.
type Process struct {
	PID int32 // 0 if it has no ID in our namespace
	UID uint32
}

const root = 0

var (
	// Unknown stands for all programs that cannot be found. No user has this UID (chown(2)).
	Unknown = Process{PID: 1<<31 - 1, UID: ^uint32(0)}

	// daemon is ourselves: a Call without a client.
	daemon = Process{PID: -1, UID: root}
	// unidentified is every client that was not identified so far.
	unidentified = Process{PID: -1, UID: ^uint32(0)}
)

// Client is a connection of a program. Until Identify its requests take only places that would be
// left if all clients that are not identified belonged to the program with most places: no program
// gains by a new connection. Requests that find no such place wait for Identify.
type Client struct {
	process atomic.Uint64 // packed; 0 until Identify

	mu      sync.Mutex
	waiting []func() // to be called when it is identified
}

// identified marks a packed process that Identify has set.
const identified = 1 << 31

// Identify sets the process of the client; only the first call counts. It calls the functions of
// Await, which send the requests that have waited.
func (c *Client) Identify(p Process) {
	if !c.process.CompareAndSwap(0, uint64(p.UID)<<32|identified|uint64(uint32(p.PID)&^identified)) {
		return
	}
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

// Await has f called when Identify identifies the client, without a lock held. It returns false if
// the client is identified already; then f is not called.
func (c *Client) Await(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner() != unidentified {
		return false
	}
	c.waiting = append(c.waiting, f)
	return true
}

// Process returns the process that Identify was given; known is false before that.
func (c *Client) Process() (p Process, known bool) {
	p = c.owner()
	return p, p != unidentified
}

// owner is the process whose places the client's requests take. A nil client is the daemon itself.
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

// Limits are the numbers of places that clients share. 0 is no limit.
type Limits struct {
	All     int // of all clients together
	Program int // of one program, however many connections it has
	User    int // of all programs of a user other than root together
	// Yield lets a program, and a user other than root, take no more places than it leaves free,
	// so that the next program always finds some.
	Yield bool
}

// Halves returns limits with which a program, and a user other than root, may have half.
func Halves(all int) Limits {
	half := max(1, all/2)
	return Limits{All: all, Program: half, User: half}
}

// Admission is whether a client may take places.
type Admission uint8

// Refused is the zero value.
const (
	Refused Admission = iota
	Admitted
	// Unsure: there may be places when the client is identified. The client has taken none.
	Unsure
)

// Shares counts the places that clients have of something they share, of a bus for example. It has
// no lock: callers hold a mutex of their own.
type Shares struct {
	limits    Limits
	used      int
	processes map[Process]int
	users     map[uint32]int  // other than root
	unknown   map[*Client]int // places of clients that were not identified so far
}

// NewShares makes shares whose places are all free.
func NewShares(limits Limits) *Shares {
	return &Shares{
		limits: limits, processes: make(map[Process]int), users: make(map[uint32]int),
		unknown: make(map[*Client]int),
	}
}

// Used returns how many places are taken.
func (s *Shares) Used() int { return s.used }

// Enter takes n places for a client if the result is Admitted. Each place needs one Leave.
func (s *Shares) Enter(c *Client, n int) Admission {
	p := c.owner()
	admission := s.admission(p, n)
	if admission != Admitted || p == daemon {
		return admission
	}
	if p == unidentified {
		s.unknown[c] += n
	}
	s.used += n
	s.add(p, n)
	return Admitted
}

// Check returns the result that Enter would have.
func (s *Shares) Check(c *Client, n int) Admission { return s.admission(c.owner(), n) }

func (s *Shares) admission(p Process, n int) Admission {
	if len(s.unknown) > 0 {
		for other := range s.unknown {
			s.identify(other)
		}
	}
	switch {
	case p == daemon:
		return Admitted
	case !within(s.used+n, s.limits.All):
		return Refused
	case p == unidentified:
		program, user := s.most()
		if !s.leaves(program+n, s.limits.Program) || !s.leaves(user+n, s.limits.User) {
			return Unsure
		}
	case !s.leaves(s.processes[p]+n, s.limits.Program):
		return Refused
	case p.UID != root && !s.leaves(s.users[p.UID]+n, s.limits.User):
		return Refused
	}
	return Admitted
}

// leaves reports whether a program or user may take this many places.
func (s *Shares) leaves(n, limit int) bool {
	return within(n, limit) && (!s.limits.Yield || n <= s.limits.All-s.used)
}

func within(n, limit int) bool { return limit == 0 || n <= limit }

// most returns the most places of a program and of a user, if one has all unidentified clients.
func (s *Shares) most() (program, user int) {
	for p, n := range s.processes {
		if p != unidentified {
			program = max(program, n)
		}
	}
	for _, n := range s.users {
		user = max(user, n)
	}
	hidden := s.processes[unidentified]
	return program + hidden, user + hidden
}

// Leave gives n places of a client back.
func (s *Shares) Leave(c *Client, n int) {
	p := c.owner()
	switch p {
	case daemon:
		return
	case unidentified:
		count(s.unknown, c, -n)
	default:
		s.identify(c)
	}
	s.used -= n
	s.add(p, -n)
}

// identify gives the places of a client to its process, if that is known now.
func (s *Shares) identify(c *Client) {
	p, n := c.owner(), s.unknown[c]
	if p != unidentified && n > 0 {
		delete(s.unknown, c)
		s.add(unidentified, -n)
		s.add(p, n)
	}
}

// add counts places of a process and its user.
func (s *Shares) add(p Process, n int) {
	count(s.processes, p, n)
	if p.UID != root && p != unidentified {
		count(s.users, p.UID, n)
	}
}

func count[K comparable](counts map[K]int, key K, n int) {
	if n += counts[key]; n == 0 {
		delete(counts, key)
		return
	}
	counts[key] = n
}
