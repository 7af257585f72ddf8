package bmc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// Log is a system event log. Its methods may be called from several goroutines
// at once. The zero value is empty, in memory, and holds 4096 records.
type Log struct {
	capacity int
	store    *Store

	mu      sync.Mutex
	entries []entry           // by number
	numbers map[uint16]uint64 // of entries, by ID
	pending int               // being written
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

// LogConfig says what a log is like.
type LogConfig struct {
	// Capacity is how many records it holds; 0 is 4096.
	Capacity int
}

// Validate reports what is wrong.
func (c LogConfig) Validate() error {
	if c.Capacity < 0 || c.Capacity > maxCapacity {
		return fmt.Errorf("log: a capacity of %d records; 1 to %d are possible", c.Capacity, maxCapacity)
	}
	return nil
}

// OpenLog opens the log that a store holds.
func OpenLog(c LogConfig, store *Store) *Log {
	l := &Log{capacity: c.Capacity, store: store}
	for _, v := range store.values(logBucket) {
		if len(v.key) == numberLength && len(v.data) == record.RecordLength {
			l.insert(entry{binary.BigEndian.Uint64(v.key), record.Record(v.data)})
		}
	}
	l.state = l.loadState()
	if store != nil {
		l.holder.id = rand.N[uint16](record.Last) // who had one before the restart has none now
	}
	return l
}

func (l *Log) limit() int {
	if l.capacity == 0 {
		return defaultCapacity
	}
	return l.capacity
}

// Add adds an event and returns when it is kept; ErrNoSpace when the log is
// full.
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
	defer l.mu.Unlock()
	return l.addLocked(r, 0)
}

// addLocked adds a record with an ID that it has been given, if it is not 0. It
// lets go of the lock while it writes: the order of the records is
// that of their numbers, whoever comes back first.
func (l *Log) addLocked(r record.Record, id uint16) (uint16, error) {
	if len(l.entries)+l.pending >= l.limit() {
		l.overflow()
		return 0, ipmi.ErrNoSpace
	}
	if id == 0 {
		id = l.nextID()
	}
	binary.LittleEndian.PutUint16(r[:], id)
	l.state.lastNumber++
	e := entry{l.state.lastNumber, r}
	after := l.state
	after.added = l.state.now()
	l.holder.cancel()
	l.pending++
	err := l.save(after, put(logBucket, e.key(), r[:]))
	l.pending--
	if errors.Is(err, ipmi.ErrNoSpace) {
		l.state.overflow = true
	}
	if err != nil {
		return 0, err
	}
	l.state.added = after.added
	if e.number > l.erased {
		l.insert(e)
	}
	return id, nil
}

// overflow notes that a record was lost. That the log is full is the answer,
// whether or not the note can be kept.
func (l *Log) overflow() {
	if l.state.overflow {
		return
	}
	l.state.overflow = true
	_ = l.save(l.state)
}

// save writes changes and what the state is after them, without the lock.
func (l *Log) save(after logState, changes ...change) error {
	w := l.store.begin(append(changes, put(settingsBucket, []byte(logSetting), after.append(nil)))...)
	l.mu.Unlock()
	defer l.mu.Lock()
	return w.wait()
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
	if l.numbers == nil {
		l.numbers = make(map[uint16]uint64)
	}
	l.numbers[e.record.ID()] = e.number
}

// at is the place of a number in the entries.
func (l *Log) at(number uint64) (place int, found bool) {
	return slices.BinarySearchFunc(l.entries, number, func(e entry, n uint64) int {
		switch {
		case e.number < n:
			return -1
		case e.number > n:
			return 1
		}
		return 0
	})
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

// remove deletes a record, if the reservation is valid.
func (l *Log) remove(reserved, id uint16) (uint16, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.is(reserved) {
		return 0, ipmi.CodeReservationCancelled
	}
	i, ok := l.place(id)
	if !ok {
		return 0, ipmi.CodeNotPresent
	}
	e := l.entries[i]
	after := l.state
	after.erased = l.state.now()
	l.holder.cancel()
	if err := l.save(after, remove(logBucket, e.key())); err != nil {
		return 0, ipmi.CodeOf(err)
	}
	l.state.erased = after.erased
	if i, ok := l.at(e.number); ok {
		l.entries = slices.Delete(l.entries, i, i+1)
		delete(l.numbers, e.record.ID())
	}
	return e.record.ID(), ipmi.CodeOK
}

// clear erases all records, if the reservation is valid.
func (l *Log) clear(reserved uint16) ipmi.CompletionCode {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holder.is(reserved) {
		return ipmi.CodeReservationCancelled
	}
	last, overflow := l.state.lastNumber, l.state.overflow
	l.state.overflow = false // what is lost from here on sets it again
	after := l.state
	after.erased = l.state.now()
	l.holder.cancel()
	l.erasing++
	err := l.save(after, empty(logBucket))
	l.erasing--
	if err != nil {
		l.state.overflow = l.state.overflow || overflow
		return ipmi.CodeOf(err)
	}
	l.state.erased = after.erased
	l.erased = max(l.erased, last)
	end, _ := l.at(last + 1)
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

// set changes the state and keeps it.
func (l *Log) set(change func(*logState)) ipmi.CompletionCode {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	return ipmi.CodeOf(l.save(l.state))
}
