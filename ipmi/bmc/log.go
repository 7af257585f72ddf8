package bmc

import (
	"context"
	"sync"
	"time"

	"ipmbd/ipmi"
)

const (
	recordLength = 16
	// maxRecords is how many records the log holds: 64 KiB.
	maxRecords = 4096

	firstRecord = 0x0000 // as an ID: the oldest
	lastRecord  = 0xFFFF // as an ID: the newest; as a next one: there is none
)

// Record is a record of the log: ID, type, and what the type says (IPMI v2.0,
// section 32).
type Record [recordLength]byte

// Log is a system event log in memory. Its methods may be called from several
// goroutines at once. The zero value is empty.
type Log struct {
	mu          sync.Mutex
	records     []Record
	nextID      uint16 // of the last record; IDs are not used again before all were
	added       time.Time
	erased      time.Time
	overflow    bool
	reservation uint16
	ahead       time.Duration // its clock, of ours
}

// Add adds an event; ErrNoSpace when the log is full.
func (l *Log) Add(_ context.Context, e ipmi.Event) error {
	_, err := l.add(Record(e.Record(0, l.now())))
	return err
}

func (l *Log) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.ahead)
}

// add gives a record its ID and adds it.
func (l *Log) add(r Record) (id uint16, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) >= maxRecords {
		l.overflow = true
		return 0, ipmi.ErrNoSpace
	}
	l.nextID++
	for l.nextID == firstRecord || l.nextID == lastRecord {
		l.nextID++
	}
	r[0], r[1] = byte(l.nextID), byte(l.nextID>>8)
	l.records = append(l.records, r)
	l.added = time.Now().Add(l.ahead)
	return l.nextID, nil
}

func (r Record) id() uint16 { return uint16(r[0]) | uint16(r[1])<<8 }

// find is the record of an ID and the ID of the one after it.
func (l *Log) find(id uint16) (r Record, next uint16, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.records) - 1
	for i, r := range l.records {
		if r.id() != id && !(id == firstRecord && i == 0) && !(id == lastRecord && i == last) {
			continue
		}
		next = lastRecord
		if i < last {
			next = l.records[i+1].id()
		}
		return r, next, true
	}
	return Record{}, 0, false
}

// reserve makes all earlier reservations invalid.
func (l *Log) reserve() uint16 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
	return l.reservation
}

// cancel ends the reservation.
func (l *Log) cancel() {
	if l.reservation++; l.reservation == 0 {
		l.reservation++
	}
}

func (l *Log) reserved(id uint16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return id == l.reservation && id != 0
}

func (l *Log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.overflow = nil, false
	l.erased = time.Now().Add(l.ahead)
	l.cancel()
}
