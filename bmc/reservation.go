package bmc

import (
	"encoding/binary"
	"sync"

	"ipmbd/ipmi"
)

// reservation is the reservation of a log or of a repository (IPMI v2.0, sections 31.4, 33.11 and
// 35.4). The owner of the last one is the only requester that can use it.
type reservation struct {
	mu    sync.Mutex
	id    uint16 // of the last one, 0 for none
	owner owner
	state reservationState
}

type reservationState uint8

const (
	cancelled reservationState = iota
	held
	spent // ended by the clear that it was made for, whose progress its owner may ask for
)

// owner is a requester. A system interface has one: its requests do not name their software.
type owner struct {
	iface   string
	address ipmi.Address
}

func ownerOf(req *ipmi.Request) owner { return owner{req.Interface, req.Requester} }

// claim is a use of a reservation.
type claim struct {
	owner
	id uint16
}

// claimOf is the claim of a request, whose data begin with the ID of a reservation.
func claimOf(req *ipmi.Request) claim {
	return claim{ownerOf(req), binary.LittleEndian.Uint16(req.Data)}
}

// reserve makes a reservation and ends earlier ones. 0 is no ID.
func (r *reservation) reserve(by owner) ipmi.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id++; r.id == 0 {
		r.id++
	}
	r.owner, r.state = by, held
	return answer(words(int(r.id))...)
}

// cancel ends the reservation, as what it was made for has changed.
func (r *reservation) cancel() { r.finish(held, cancelled) }

// spend ends the reservation, as a clear needs it no longer.
func (r *reservation) spend() { r.finish(held, spent) }

// end ends the reservation for all uses, at a reset.
func (r *reservation) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = cancelled
}

func (r *reservation) finish(from, to reservationState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == from {
		r.state = to
	}
}

func (r *reservation) holds(c claim) bool { return r.isIn(c, held) }

// maySeeErasure reports whether the claim's owner may ask how far the clear is.
func (r *reservation) maySeeErasure(c claim) bool { return r.isIn(c, held) || r.isIn(c, spent) }

func (r *reservation) isIn(c claim, state reservationState) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == state && c == claim{r.owner, r.id}
}
