package frames

import "ipmbd/bus"

const root = 0

// findPlace finds a place for one more client of a process: a free one (nil), or the place of the
// client that it returns. The error is ErrTooMany.
//
// Idle clients keep no other client out: if a limit is reached, a program or a user that has fewer
// clients takes the place of the client that has been idle for longest, of the program or user
// that has most.
func (s *Server) findPlace(of bus.Process) (place *peer, err error) {
	programs, users := make(map[bus.Process]int), make(map[uint32]int)
	for p := range s.peers {
		programs[p.process]++
		users[p.process.UID]++
	}
	limit := s.config.MaxClients
	switch {
	case programs[of] >= s.config.MaxPerProcess:
	case of.UID != root && users[of.UID] >= max(1, limit/2):
		place = s.longestIdle(programs[of], func(p *peer) int {
			if p.process.UID != of.UID {
				return 0
			}
			return programs[p.process]
		})
	case len(s.peers) < limit:
		return nil, nil
	case of.UID == root:
		place = s.placeForRoot(of, users)
	default:
		place = s.longestIdle(users[of.UID], func(p *peer) int { return users[p.process.UID] })
	}
	if place == nil {
		return nil, ErrTooMany
	}
	return place, nil
}

// placeForRoot returns the place of an idle client of another program, or else the place of any
// client of another user; nil if all are root's and busy.
func (s *Server) placeForRoot(of bus.Process, users map[uint32]int) *peer {
	place := s.longestIdle(0, func(p *peer) int {
		if p.process == of {
			return 0
		}
		return users[p.process.UID]
	})
	for p := range s.peers {
		if place == nil && p.process.UID != root {
			place = p
		}
	}
	return place
}

// longestIdle returns the client with the greatest weight among the idle clients whose weight is
// above least; if several have it, the one that has been idle for longest. It returns nil if there
// is none.
func (s *Server) longestIdle(least int, weight func(*peer) int) (found *peer) {
	most := least
	for p := range s.peers {
		switch w := weight(p); {
		case w <= least || w < most || !p.isIdle():
		case found == nil || w > most || p.lastUsed.Load() < found.lastUsed.Load():
			found, most = p, w
		}
	}
	return found
}

// isIdle reports whether the client has all answers to its requests.
func (p *peer) isIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owed == 0
}
