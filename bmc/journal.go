package bmc

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"ipmbd/ipmi"
)

// journal keeps named values, so that they are there when the process starts again. A value can
// be read as soon as the journal has stored it. The methods may be called from several goroutines
// at once.
//
// Names are paths: "log/17" is a record of the event log, "fru/0" the data of an inventory
// device. The other values are settings, such as "host/0/boot/5" and "user/2/name". A setting has
// the bytes that IPMI has on the wire, but of a password there is a hash only.
type journal struct {
	// store makes changes to values on the disk, all or none. The error is ErrNoSpace if nothing
	// has changed because the disk is full. After any other error, and while a call hangs, the
	// journal does not call it, until restore has returned nil. Calls of the three functions do
	// not overlap.
	store func(values map[string][]byte, changes []change) error
	// restore stores all values anew, and returns them. If those on the disk could not be read at
	// the start, it merges both.
	restore func(values map[string][]byte, unread bool) (map[string][]byte, error)
	close   func() error
	// diskState is called with the error after which the journal keeps its values in memory, and
	// with nil when all are on the disk again.
	diskState func(cause error)
	// merged is called with the values when restore has merged them, while no values change.
	merged   func(values map[string][]byte)
	isOnDisk bool // values outlive the process

	mu      sync.Mutex
	values  map[string][]byte // by name; the bytes never change
	queue   []*journalWrite
	storing bool            // one of the functions is being called
	stored  sync.Cond       // storing has become false
	lost    error           // why the disk is not used; nil while it is
	unread  bool            // the values on the disk could not be read at the start
	hanging <-chan struct{} // closed when the call that hung has returned; nil for none
	closed  bool
}

// newJournal makes a journal in memory.
func newJournal(values map[string][]byte) *journal {
	if values == nil {
		values = make(map[string][]byte)
	}
	j := &journal{
		store:     func(map[string][]byte, []change) error { return nil },
		restore:   func(values map[string][]byte, _ bool) (map[string][]byte, error) { return values, nil },
		close:     func() error { return nil },
		diskState: func(error) {},
		merged:    func(map[string][]byte) {},
		values:    values,
	}
	j.stored.L = &j.mu
	return j
}

// change is one change of a journal.
type change struct {
	kind  changeKind
	name  string
	value []byte
	// edit makes a new value from the stored one, which is nil if there is none and which edit
	// must not change. The journal calls edit when all earlier changes are stored or refused.
	edit func(stored []byte) []byte
}

// changeKind is the kind of a change; the file has these numbers.
type changeKind uint8

const (
	changePut changeKind = iota
	changeRemove
	changeRemoveAll // all values whose names begin with the change's
)

func putValue(name string, value ...byte) change {
	return change{kind: changePut, name: name, value: slices.Clone(value)}
}

func editValue(name string, edit func(stored []byte) []byte) change {
	return change{kind: changePut, name: name, edit: edit}
}

func removeValue(name string) change    { return change{kind: changeRemove, name: name} }
func removeValues(prefix string) change { return change{kind: changeRemoveAll, name: prefix} }

// apply makes changes to values.
func apply(values map[string][]byte, changes []change) {
	for _, c := range changes {
		switch c.kind {
		case changePut:
			values[c.name] = c.value
		case changeRemove:
			delete(values, c.name)
		case changeRemoveAll:
			maps.DeleteFunc(values, func(name string, _ []byte) bool { return strings.HasPrefix(name, c.name) })
		}
	}
}

// value is the stored value of a name, nil if there is none. The caller must not change it.
func (j *journal) value(name string) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.values[name]
}

// snapshot is all stored values.
func (j *journal) snapshot() map[string][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.values)
}

// isLost reports whether the journal keeps its values in memory because it cannot use the disk.
func (j *journal) isLost() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost != nil
}

// journalWrite is changes that are stored together or not at all.
type journalWrite struct {
	journal *journal
	publish func(error)
	changes []change
	done    bool
	err     error
}

// startWrite queues changes. The journal stores them in the order of the calls of startWrite. In
// this order it calls publish, if that is not nil, when it has stored the changes or refused
// them.
func (j *journal) startWrite(publish func(error), changes ...change) *journalWrite {
	w := &journalWrite{journal: j, publish: publish, changes: changes}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, w)
	return w
}

// write stores changes and returns when they are on the disk, or in memory if the disk is lost.
func (j *journal) write(changes ...change) error { return j.startWrite(nil, changes...).wait() }

// wait returns when the changes are stored. One of the waiting callers stores all that is queued,
// while the others wait for it: a single writer is not delayed, and several writers share the
// cost. The error is ErrNoSpace if the disk is full, or errClosed. A nil write is done.
func (w *journalWrite) wait() error {
	if w == nil {
		return nil
	}
	j := w.journal
	batch := j.takeQueue(w)
	if batch == nil {
		return w.err
	}
	changes := j.resolve(batch)
	lost, err := j.storeBatch(changes)
	for _, w := range batch {
		if w.publish != nil {
			w.publish(err)
		}
	}
	j.finish(batch, changes, err)
	if lost != nil {
		j.diskState(lost)
	}
	return err
}

// storeBatch stores changes, on the disk if that is not lost. lost is the error with which this
// call has lost it.
func (j *journal) storeBatch(changes []change) (lost, err error) {
	j.mu.Lock()
	values, wasLost, closed := j.values, j.lost, j.closed
	j.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case wasLost != nil:
		return nil, nil
	}
	err = j.onDisk(func() error { return j.store(values, changes) })
	if err == nil || errors.Is(err, ipmi.ErrNoSpace) {
		return nil, err
	}
	j.loseDisk(err)
	return err, nil
}

// takeQueue returns the queue for the caller to store, or nil when the write is done.
func (j *journal) takeQueue(w *journalWrite) (batch []*journalWrite) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for !w.done && j.storing {
		j.stored.Wait()
	}
	if w.done {
		return nil
	}
	batch, j.queue, j.storing = j.queue, nil, true
	return batch
}

// resolve returns the changes of a batch, edits with their values.
func (j *journal) resolve(batch []*journalWrite) (changes []change) {
	latest := func(name string) []byte {
		for _, c := range slices.Backward(changes) {
			if c.kind == changePut && c.name == name {
				return c.value
			}
		}
		return j.values[name] // Only the caller that stores changes them.
	}
	for _, w := range batch {
		for _, c := range w.changes {
			if c.edit != nil {
				c.value = c.edit(latest(c.name))
			}
			changes = append(changes, c)
		}
	}
	return changes
}

// finish publishes the values of a batch and wakes the callers that wait for it.
func (j *journal) finish(batch []*journalWrite, changes []change, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		apply(j.values, changes)
	}
	for _, w := range batch {
		w.done, w.err = true, err
	}
	j.storing = false
	j.stored.Broadcast()
}

var errClosed = errors.New("journal: closed")

// Close waits for the batch that is being stored. If the disk was lost, it tries once more to store
// everything. Later writes fail. It abandons a call that hangs.
func (j *journal) Close() error {
	restored := j.restoreDisk()
	j.mu.Lock()
	for j.storing {
		j.stored.Wait()
	}
	wasClosed := j.closed
	j.closed, j.storing = true, true // No other call begins.
	j.mu.Unlock()
	if wasClosed {
		return nil
	}
	err := j.onDisk(j.close)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.storing = false
	j.stored.Broadcast()
	return errors.Join(restored, err)
}
