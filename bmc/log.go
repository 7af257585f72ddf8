package bmc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
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
)

// Log is a system event log. Its methods may be called from several goroutines at once.
//
// A change has two steps. The first one, with the lock held, prepares the change and queues it in
// the journal; so the order of the journal is that of the log. The second one, with the lock held
// again, publishes the change when the journal has stored it. The lock is free in between.
type Log struct {
	capacity int
	journal  *journal

	mu      sync.Mutex
	entries []entry           // by number
	numbers map[uint16]uint64 // of entries, by ID
	pending int               // additions that are being stored
	erasing int               // clears in progress
	erased  uint64            // the last number that has been cleared
	state   logState
	holder  reservation
	partial partialRecord
}

// entry is a record with its number: numbers only grow.
type entry struct {
	number uint64
	record record.Record
}

// newLog makes the log that a journal holds.
func newLog(capacity int, j *journal) *Log {
	if capacity == 0 {
		capacity = defaultCapacity
	}
	l := &Log{capacity: capacity, journal: j, numbers: make(map[uint16]uint64)}
	for name, value := range j.values {
		if number, ok := entryNumber(name); ok && len(value) == record.RecordLength {
			l.entries = append(l.entries, entry{number, record.Record(value)})
		}
	}
	slices.SortFunc(l.entries, func(a, b entry) int { return cmp.Compare(a.number, b.number) })
	for _, e := range l.entries {
		l.numbers[e.record.ID()] = e.number
	}
	l.state = l.loadState()
	if j.isOnDisk {
		l.holder.id = rand.N[uint16](record.Last) // No reservation from before the restart holds.
	}
	return l
}

// Add adds an event and returns when it is stored. The error is ErrNoSpace when the log or the disk
// is full.
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
	a := l.prepareAddition(r, 0)
	l.mu.Unlock()
	return l.publishAddition(a)
}

// addition is a record that is being stored or, with an error, a state that says that the log has
// lost a record.
type addition struct {
	entry entry
	added record.Time
	write *journalWrite
	err   error
}

// prepareAddition queues a record for the journal. An id of 0 is a new one. The caller holds mu.
func (l *Log) prepareAddition(r record.Record, id uint16) addition {
	if len(l.entries)+l.pending >= l.capacity {
		a := addition{err: ipmi.ErrNoSpace}
		if !l.state.overflow {
			l.state.overflow = true
			a.write = l.journal.begin(l.state.change())
		}
		return a
	}
	if id == 0 {
		id = l.nextID()
	}
	binary.LittleEndian.PutUint16(r[:], id)
	l.state.lastNumber++
	a := addition{entry: entry{l.state.lastNumber, r}, added: l.state.time()}
	after := l.state
	after.added = a.added
	l.holder.cancel()
	l.pending++
	a.write = l.journal.begin(after.change(), putValue(a.entry.name(), r[:]...))
	return a
}

// publishAddition waits for the journal and takes the record into the log.
func (l *Log) publishAddition(a addition) (id uint16, err error) {
	if a.write != nil {
		err = a.write.wait()
	}
	if a.err != nil {
		return 0, a.err // The log is full, whether or not the journal has kept that.
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending--
	if errors.Is(err, ipmi.ErrNoSpace) {
		l.state.overflow = true
	}
	if err != nil {
		return 0, err
	}
	l.state.added = a.added
	if a.entry.number > l.erased {
		l.insert(a.entry)
	}
	return a.entry.record.ID(), nil
}

// nextID is an ID that no record has; all others come before it comes again.
func (l *Log) nextID() uint16 {
	for {
		l.state.lastID++
		_, taken := l.numbers[l.state.lastID]
		if !taken && l.state.lastID != record.First && l.state.lastID != record.Last {
			return l.state.lastID
		}
	}
}

func (l *Log) insert(e entry) {
	at, _ := l.at(e.number)
	l.entries = slices.Insert(l.entries, at, e)
	l.numbers[e.record.ID()] = e.number
}

// at is the place of a number in the entries.
func (l *Log) at(number uint64) (place int, found bool) {
	return slices.BinarySearchFunc(l.entries, number, func(e entry, n uint64) int { return cmp.Compare(e.number, n) })
}

// place is where the record of an ID is.
func (l *Log) place(id uint16) (int, bool) {
	switch {
	case len(l.entries) == 0:
		return 0, false
	case id == record.First:
		return 0, true
	case id == record.Last:
		return len(l.entries) - 1, true
	}
	number, ok := l.numbers[id]
	if !ok {
		return 0, false
	}
	return l.at(number)
}

// find is the record of an ID and the ID of the one after it.
func (l *Log) find(id uint16) (r record.Record, next uint16, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.place(id)
	if !ok {
		return record.Record{}, 0, false
	}
	next = record.Last
	if i+1 < len(l.entries) {
		next = l.entries[i+1].record.ID()
	}
	return l.entries[i].record, next, true
}

// remove deletes a record, if the reservation holds, and returns its ID.
func (l *Log) remove(reserved, id uint16) (uint16, ipmi.CompletionCode) {
	e, at, w, code := l.prepareRemoval(reserved, id)
	if code != ipmi.CodeOK {
		return 0, code
	}
	if err := w.wait(); err != nil {
		return 0, ipmi.CodeOf(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.erased = at
	if i, ok := l.at(e.number); ok {
		l.entries = slices.Delete(l.entries, i, i+1)
		delete(l.numbers, e.record.ID())
	}
	return e.record.ID(), ipmi.CodeOK
}

func (l *Log) prepareRemoval(reserved, id uint16) (entry, record.Time, *journalWrite, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.is(reserved) {
		return entry{}, 0, nil, ipmi.CodeReservationCancelled
	}
	i, ok := l.place(id)
	if !ok {
		return entry{}, 0, nil, ipmi.CodeNotPresent
	}
	e := l.entries[i]
	after := l.state
	after.erased = l.state.time()
	l.holder.cancel()
	return e, after.erased, l.journal.begin(after.change(), removeValue(e.name())), ipmi.CodeOK
}

// clear erases all records, if the reservation holds.
func (l *Log) clear(reserved uint16) ipmi.CompletionCode {
	c, code := l.prepareClear(reserved)
	if code != ipmi.CodeOK {
		return code
	}
	return l.publishClear(c, c.write.wait())
}

// clearing is a clear that is being stored.
type clearing struct {
	last     uint64 // number
	overflow bool   // before
	erased   record.Time
	write    *journalWrite
}

func (l *Log) prepareClear(reserved uint16) (clearing, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.is(reserved) {
		return clearing{}, ipmi.CodeReservationCancelled
	}
	c := clearing{last: l.state.lastNumber, overflow: l.state.overflow, erased: l.state.time()}
	l.state.overflow = false // A record that is lost from here on sets it again.
	after := l.state
	after.erased = c.erased
	l.holder.cancel()
	l.erasing++
	c.write = l.journal.begin(after.change(), removeValues(entryPrefix))
	return c, ipmi.CodeOK
}

func (l *Log) publishClear(c clearing, err error) ipmi.CompletionCode {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erasing--
	if err != nil {
		l.state.overflow = l.state.overflow || c.overflow
		return ipmi.CodeOf(err)
	}
	l.state.erased = c.erased
	l.erased = max(l.erased, c.last)
	end, _ := l.at(c.last + 1)
	for _, e := range l.entries[:end] {
		delete(l.numbers, e.record.ID())
	}
	l.entries = slices.Clone(l.entries[end:])
	return ipmi.CodeOK
}

// erasure reports whether a clear is in progress, to who made the last
// reservation: the clear that it was made for has cancelled it.
func (l *Log) erasure(reserved uint16) (done bool, code ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reserved == 0 || reserved != l.holder.id {
		return false, ipmi.CodeReservationCancelled
	}
	return l.erasing == 0, ipmi.CodeOK
}

// setState changes the state and stores it.
func (l *Log) setState(change func(*logState)) ipmi.CompletionCode {
	l.mu.Lock()
	change(&l.state)
	w := l.journal.begin(l.state.change())
	l.mu.Unlock()
	return ipmi.CodeOf(w.wait())
}
