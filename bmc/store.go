package bmc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"ipmbd/ipmi"
)

// The buckets of a store.
const (
	logBucket      = "log"      // records by their order
	fruBucket      = "fru"      // inventory data by device ID
	settingsBucket = "settings" // all that is set by commands, by name
)

var buckets = []string{logBucket, fruBucket, settingsBucket}

// Store keeps what the controller must not forget. Its methods may be called
// from several goroutines at once. A nil Store keeps nothing: what is in memory
// is all there is.
type Store struct {
	db     *bbolt.DB
	unlock func()
	report func(error)
	loaded map[string][]value // as it was opened

	mu         sync.Mutex
	committed  sync.Cond
	committing bool
	queue      []*write
	broken     error // the database may not be touched again
}

type value struct{ key, data []byte }

// change is one thing to do in a bucket.
type change struct {
	bucket string
	key    []byte // nil: the bucket is emptied
	data   []byte // nil: the key is deleted
}

func put(bucket string, key, data []byte) change {
	return change{bucket, key, append([]byte{}, data...)}
}
func remove(bucket string, key []byte) change { return change{bucket, key, nil} }
func empty(bucket string) change              { return change{bucket, nil, nil} }

// write is changes that are made together or not at all.
type write struct {
	store   *Store
	changes []change
	done    bool
	err     error
}

// values are what a bucket held when the store was opened, in the order of the
// keys.
func (s *Store) values(bucket string) []value {
	if s == nil {
		return nil
	}
	return s.loaded[bucket]
}

// setting is what a setting was when the store was opened; nil if it was not set.
func (s *Store) setting(name string) []byte {
	for _, v := range s.values(settingsBucket) {
		if string(v.key) == name {
			return v.data
		}
	}
	return nil
}

// begin puts changes in line: they are made in the order of the calls of begin.
func (s *Store) begin(changes ...change) *write {
	w := &write{store: s, changes: changes}
	if s == nil {
		w.done = true
		return w
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, w)
	return w
}

// wait returns when the changes are on the disk. Of those who wait one commits
// what is in line, in one transaction, while the others wait for it: a lone
// writer is not delayed, and many share the cost. The error is ErrNoSpace where
// the disk is full.
func (w *write) wait() error {
	s := w.store
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !w.done && s.committing {
		s.committed.Wait()
	}
	if w.done {
		return w.err
	}
	batch := s.queue
	s.queue, s.committing = nil, true
	err := s.broken
	if err == nil {
		s.mu.Unlock()
		err = s.commit(batch)
		s.mu.Lock()
	}
	breaks := err != nil && s.broken == nil && !errors.Is(err, ipmi.ErrNoSpace)
	if breaks {
		s.broken = err
	}
	for _, w := range batch {
		w.done, w.err = true, err
	}
	s.committing = false
	s.committed.Broadcast()
	if breaks {
		s.mu.Unlock()
		s.report(fmt.Errorf("store: nothing more is kept: %w", err))
		s.mu.Lock()
	}
	return w.err
}

// isBroken reports whether nothing can be kept any more.
func (s *Store) isBroken() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != nil
}

// write makes changes and returns when they are on the disk.
func (s *Store) write(changes ...change) error { return s.begin(changes...).wait() }

func (s *Store) commit(batch []*write) error {
	err := guarded(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			for _, w := range batch {
				for _, c := range w.changes {
					if err := c.apply(tx); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
	if isFull(err) {
		return fmt.Errorf("store: %w: %v", ipmi.ErrNoSpace, err)
	}
	return err
}

// isFull also looks at the text: where bbolt grows its file it passes on no more
// than that.
func isFull(err error) bool {
	if err == nil {
		return false
	}
	return errors.Is(err, bolterrors.ErrMaxSizeReached) ||
		slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT}, func(full error) bool {
			return errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error())
		})
}

func (c change) apply(tx *bbolt.Tx) error {
	if c.key == nil {
		if err := tx.DeleteBucket([]byte(c.bucket)); err != nil {
			return err
		}
		_, err := tx.CreateBucket([]byte(c.bucket))
		return err
	}
	b := tx.Bucket([]byte(c.bucket))
	if c.data == nil {
		return b.Delete(c.key)
	}
	return b.Put(c.key, seal(c.bucket, c.key, c.data))
}

// Close waits for the transaction in progress. What is written after it fails.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.committing {
		s.committed.Wait()
	}
	if errors.Is(s.broken, errClosed) {
		return nil
	}
	defer s.unlock()
	if was := s.broken; errors.Is(was, errFault) {
		s.broken = errClosed // the database holds locks that nobody will open
		return was
	}
	s.broken = errClosed
	return guarded(s.db.Close)
}

var (
	errClosed = errors.New("store: closed")
	errFault  = errors.New("store: the database failed")
)

// guarded runs a use of the database. What is wrong in its file, or a disk that
// does not give a mapped page, is a panic or a fault there, and an error here.
func guarded(use func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errFault, r)
		}
	}()
	return use()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumLength = 4

// checksum is over bucket, key and data, so that no value passes for another.
func checksum(bucket string, key, data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, append([]byte(bucket), 0, byte(len(key))))
	return crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, data)
}

// seal is data with its checksum behind.
func seal(bucket string, key, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte{}, data...), checksum(bucket, key, data))
}

// unseal is the data of a value whose checksum is right.
func unseal(bucket string, key, sealed []byte) (data []byte, ok bool) {
	n := len(sealed) - sumLength
	if n < 0 {
		return nil, false
	}
	return append([]byte{}, sealed[:n]...), binary.LittleEndian.Uint32(sealed[n:]) == checksum(bucket, key, sealed[:n])
}

// load reads all values into memory and counts those with a wrong checksum,
// which it leaves out.
func load(db *bbolt.DB) (values map[string][]value, wrong int, err error) {
	values = make(map[string][]value)
	err = guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			for _, bucket := range buckets {
				if err := tx.Bucket([]byte(bucket)).ForEach(func(key, sealed []byte) error {
					if data, ok := unseal(bucket, key, sealed); ok {
						values[bucket] = append(values[bucket], value{append([]byte{}, key...), data})
					} else {
						wrong++
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return values, wrong, err
}
