package bmc

// reservation is the ID of the reservation that holds, or the last one that was
// cancelled (IPMI v2.0, sections 31.4 and 33.11): 0 is none.
type reservation struct {
	id   uint16
	held bool
}

// next makes all earlier reservations invalid.
func (r *reservation) next() uint16 {
	if r.id++; r.id == 0 {
		r.id++
	}
	r.held = true
	return r.id
}

func (r *reservation) cancel() { r.held = false }

func (r *reservation) is(id uint16) bool { return r.held && id == r.id }
