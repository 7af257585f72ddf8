package bmc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

const (
	// defaultCapacity is how many records a log holds: 64 KiB.
	defaultCapacity = 4096
	// maxCapacity leaves IDs enough that a free one is found.
	maxCapacity = 32768
	// unspecifiedOffset of SEL time to UTC (IPMI v2.0, section 31.11a).
	unspecifiedOffset = 0x07FF

	// Names in the journal.
	logSetting  = "log"
	entryPrefix = "log/"
)

// Log is a system event log. Its methods may be called from several goroutines at once.
//
// A change has two steps. The first one prepares the change and queues it in the journal, with
// the lock held over both, so that the journal has the order of the log. The journal calls the
// second one, which publishes the change, when it has stored the change.
type Log struct {
	capacity int
	journal  *journal
	holder   reservation

	mu      sync.Mutex
	entries []entry // by number
	pending int     // additions that are being stored
	erasing int     // clears that are being stored
	state   logState
	partial partialRecord
}

// entry is a record with its number: numbers only grow.
type entry struct {
	number uint64
	record record.Record
}

// name is the name of the record in the journal.
func (e entry) name() string { return entryPrefix + strconv.FormatUint(e.number, 10) }

// logState is the state of a log beside its records. The journal has the fields in this order,
// LSB first.
type logState struct {
	LastNumber    uint64
	LastID        uint16 // IDs are not used again before all were
	Added, Erased record.Time
	Overflow      bool
	Ahead         time.Duration // its clock, of ours
	Offset        int16         // of its time to UTC, in minutes
}

func (s logState) now() time.Time { return time.Now().Add(s.Ahead) }

// time is now as a record has it.
func (s logState) time() record.Time { return record.TimeOf(s.now()) }

// decodeLogState reads a state from the journal. Without one the log is new.
func decodeLogState(stored []byte) (s logState) {
	if _, err := binary.Decode(stored, binary.LittleEndian, &s); err != nil {
		return logState{Added: record.NoTime, Erased: record.NoTime, Offset: unspecifiedOffset}
	}
	return s
}

// startChange queues a change of the state and other changes, which are stored together or not at
// all. Then it changes the state and calls publish, with mu held. The caller holds mu.
//
// The stored state is changed, not replaced by the present one: earlier changes may still be
// queued, and may be refused.
func (l *Log) startChange(set func(*logState), publish func(error), changes ...change) *journalWrite {
	now := l.state
	lost := now.Overflow && l.erasing == 0 // Maybe the flag could not be stored before.
	edit := editValue(logSetting, func(stored []byte) []byte {
		s := decodeLogState(stored)
		s.LastNumber, s.LastID, s.Overflow = now.LastNumber, now.LastID, s.Overflow || lost
		set(&s)
		return s.encode()
	})
	return l.journal.startWrite(func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			set(&l.state)
		}
		publish(err)
	}, append(changes, edit)...)
}

// The first record of a log whose journal could not be read has a number and an ID beyond these.
// Records of the journal have smaller ones, so that both can be in one log when it can be read.
const (
	unreadNumber = 1 << 32
	unreadID     = maxCapacity
)

// encode is the state as the journal has it.
func (s logState) encode() []byte {
	value, _ := binary.Append(nil, binary.LittleEndian, s) // The size of the fields is fixed.
	return value
}

// newLog makes the log that a journal holds. If its state is lost, newLog derives the number of
// records and the last ID from the records.
func newLog(capacity int, j *journal) *Log {
	l := &Log{capacity: cmp.Or(capacity, defaultCapacity), journal: j}
	values := j.snapshot()
	l.entries = entriesOf(values)
	l.state = decodeLogState(values[logSetting])
	if n := len(l.entries); n > 0 && l.entries[n-1].number > l.state.LastNumber {
		l.state.LastNumber, l.state.LastID = l.entries[n-1].number, l.entries[n-1].record.ID()
	}
	if j.unread {
		l.state.LastNumber, l.state.LastID = unreadNumber, unreadID
	}
	if j.isOnDisk {
		l.holder.id = rand.N[uint16](record.Last) // No reservation from before the restart holds.
	}
	return l
}

// entriesOf returns the records in the values of a journal, in order.
func entriesOf(values map[string][]byte) (entries []entry) {
	for name, value := range values {
		text, isEntry := strings.CutPrefix(name, entryPrefix)
		if number, err := strconv.ParseUint(text, 10, 64); isEntry && err == nil && len(value) == record.RecordLength {
			entries = append(entries, entry{number, record.Record(value)})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.number, b.number) })
	return entries
}

// adopt takes the records and the clock of a journal that could not be read at the start, while no
// write is in progress.
func (l *Log) adopt(values map[string][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = entriesOf(values)
	state := decodeLogState(values[logSetting])
	l.state.Ahead, l.state.Offset = state.Ahead, state.Offset
	l.holder.cancel()
}

// Add adds an event and returns when it is stored. The error is ErrNoSpace when the log or the
// disk is full.
func (l *Log) Add(_ context.Context, e ipmi.Event) error {
	_, err := l.add(record.Record(e.Record(0, l.Now())))
	return err
}

// Now is the time of the log's own clock, which Set SEL Time sets.
func (l *Log) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.now()
}

// add gives a record its ID and adds it.
func (l *Log) add(r record.Record) (id uint16, err error) {
	l.mu.Lock()
	id, w, err := l.startAddition(r, 0)
	l.mu.Unlock()
	return id, cmp.Or(err, w.wait())
}

// startAddition queues a record for the journal. An id of 0 is a new one. The error is ErrNoSpace
// if the log is full; then the journal gets the overflow flag. The caller holds mu, and waits
// without it.
func (l *Log) startAddition(r record.Record, id uint16) (uint16, *journalWrite, error) {
	if len(l.entries)+l.pending >= l.capacity {
		if l.state.Overflow && l.erasing == 0 {
			return 0, nil, ipmi.ErrNoSpace
		}
		raise := func(s *logState) { s.Overflow = true }
		return 0, l.startChange(raise, func(error) { raise(&l.state) }), ipmi.ErrNoSpace
	}
	if id == 0 {
		id = l.nextID()
	}
	binary.LittleEndian.PutUint16(r[:], id)
	l.state.LastNumber++
	e, now := entry{l.state.LastNumber, r}, l.state.time()
	l.holder.cancel()
	l.pending++
	return id, l.startChange(func(s *logState) { s.Added = now }, func(err error) {
		l.pending--
		if errors.Is(err, ipmi.ErrNoSpace) {
			l.state.Overflow = true
		}
		if err == nil {
			l.entries = append(l.entries, e)
		}
	}, putValue(e.name(), r[:]...)), nil
}

// nextID is an ID that no record has; all others come before it comes again. The caller holds mu.
func (l *Log) nextID() uint16 {
	for {
		l.state.LastID++
		id := l.state.LastID
		if id != record.First && id != record.Last && l.place(id) < 0 {
			return id
		}
	}
}

// place returns the index of the record with an ID, or -1. The caller holds mu.
func (l *Log) place(id uint16) int {
	switch {
	case id == record.First && len(l.entries) > 0:
		return 0
	case id == record.Last:
		return len(l.entries) - 1
	}
	return slices.IndexFunc(l.entries, func(e entry) bool { return e.record.ID() == id })
}

// findRecord is the record of an ID and the ID of the next one; nil if there is none.
func (l *Log) findRecord(id uint16) (whole []byte, next uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.place(id)
	if i < 0 {
		return nil, 0
	}
	next = record.Last
	if i+1 < len(l.entries) {
		next = l.entries[i+1].record.ID()
	}
	r := l.entries[i].record
	return r[:], next
}

// startRemoval queues the deletion of a record, if the reservation holds, and returns its ID.
func (l *Log) startRemoval(c claim, id uint16) (uint16, *journalWrite, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.place(id)
	switch {
	case !l.holder.holds(c):
		return 0, nil, ipmi.CodeReservationCancelled
	case i < 0:
		return 0, nil, ipmi.CodeNotPresent
	}
	e, now := l.entries[i], l.state.time()
	l.holder.cancel()
	return e.record.ID(), l.startChange(func(s *logState) { s.Erased = now }, func(err error) {
		if err == nil {
			l.entries = slices.DeleteFunc(l.entries, func(each entry) bool { return each.number == e.number })
		}
	}, removeValue(e.name())), ipmi.CodeOK
}

// startClear queues the erasure of all records, if the reservation holds.
func (l *Log) startClear(c claim) (*journalWrite, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.holds(c) {
		return nil, ipmi.CodeReservationCancelled
	}
	now := l.state.time()
	l.holder.spend()
	l.erasing++
	// A record that is lost from here on raises the flag again.
	return l.startChange(func(s *logState) { s.Erased, s.Overflow = now, false }, func(err error) {
		l.erasing--
		if err == nil {
			l.entries = nil
		}
	}, removeValues(entryPrefix)), ipmi.CodeOK
}

// erasure reports whether no clear is in progress.
func (l *Log) erasure(c claim) (done bool, code ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.maySeeErasure(c) {
		return false, ipmi.CodeReservationCancelled
	}
	return l.erasing == 0, ipmi.CodeOK
}

// setState stores a change of the state, unless isValid refuses it; a nil isValid refuses nothing.
func (l *Log) setState(isValid func() bool, set func(*logState)) ipmi.CompletionCode {
	l.mu.Lock()
	if isValid != nil && !isValid() {
		l.mu.Unlock()
		return ipmi.CodeInvalidField
	}
	w := l.startChange(set, func(error) {})
	l.mu.Unlock()
	return ipmi.CodeOf(w.wait())
}
