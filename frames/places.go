package frames

const root = 0

// place finds a place for one more client of a process: a free one (nil), or that of the
// client it returns. The error is ErrTooMany.
//
// Clients that do nothing keep nobody out: where a limit is reached, a program or a user
// that has fewer clients takes the place of the one that has been idle for longest, of the
// program or user that has most.
func (s *Server) place(who Peer) (of *peer, err error) {
	programs, users := make(map[Peer]int), make(map[uint32]int)
	for p := range s.peers {
		programs[p.who]++
		users[p.who.UID]++
	}
	limit := s.config.MaxClients
	switch {
	case programs[who] >= s.config.MaxPerProcess:
	case who.UID != root && users[who.UID] >= max(1, limit/2):
		of = s.longestIdle(programs[who], func(p *peer) int {
			if p.who.UID != who.UID {
				return 0
			}
			return programs[p.who]
		})
	case len(s.peers) < limit:
		return nil, nil
	case who.UID == root:
		of = s.placeForRoot(who, users)
	default:
		of = s.longestIdle(users[who.UID], func(p *peer) int { return users[p.who.UID] })
	}
	if of == nil {
		return nil, ErrTooMany
	}
	return of, nil
}

// placeForRoot is the place of an idle client of another program, else that of any client
// of another user; nil when all are root's and busy.
func (s *Server) placeForRoot(who Peer, users map[uint32]int) *peer {
	of := s.longestIdle(0, func(p *peer) int {
		if p.who == who {
			return 0
		}
		return users[p.who.UID]
	})
	for p := range s.peers {
		if of == nil && p.who.UID != root {
			of = p
		}
	}
	return of
}

// longestIdle is, of the idle clients whose weight is above a least one, that of the
// greatest weight which has been idle for longest; nil for none.
func (s *Server) longestIdle(least int, weight func(*peer) int) (found *peer) {
	most := least
	for p := range s.peers {
		switch w := weight(p); {
		case w <= least || w < most || !p.isIdle():
		case found == nil || w > most || p.used.Load() < found.used.Load():
			found, most = p, w
		}
	}
	return found
}

// isIdle reports whether the client has all answers to what it has sent.
func (p *peer) isIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owed == 0
}
