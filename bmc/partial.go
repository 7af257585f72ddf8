package bmc

import (
	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// codeWrongLength: a record of another length than its bytes (IPMI v2.0, section
// 31.7).
const codeWrongLength ipmi.CompletionCode = 0x80

// partialRecord is a record that comes in parts. It ends with the reservation
// that it came under.
type partialRecord struct {
	reservation uint16
	id          uint16
	length      int
	record      record.Record
}

// addPart takes a part of a record under a reservation: the first one with ID 0
// and offset 0, the others where the one before has ended. The last one adds the
// record.
func (l *Log) addPart(reserved, id uint16, offset int, last bool, data []byte) (uint16, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.is(reserved) {
		return 0, ipmi.CodeReservationCancelled
	}
	p := &l.partial
	switch {
	case offset == 0 && id == 0:
		*p = partialRecord{reservation: reserved, id: l.nextID()}
	case p.reservation != reserved || p.id != id || id == 0:
		return 0, ipmi.CodeNotPresent
	case offset != p.length:
		return 0, ipmi.CodeParameterOutOfRange
	}
	if end := p.length + len(data); end > record.RecordLength || last && end != record.RecordLength {
		return 0, codeWrongLength
	}
	p.length += copy(p.record[p.length:], data)
	if !last {
		return p.id, ipmi.CodeOK
	}
	whole := *p
	*p = partialRecord{}
	stamp(&whole.record, l.state.now())
	added, err := l.addLocked(whole.record, whole.id)
	return added, ipmi.CodeOf(err)
}
