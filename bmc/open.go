package bmc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	storeName = "bmc.db"
	// maxStoreSize is far above what a full log and a few inventories need, and
	// bounds what a check of the file reads.
	maxStoreSize = 64 << 20
)

// ErrStoreInUse: another process has the store open.
var ErrStoreInUse = errors.New("store is in use by another process")

// DamageError says that the file of a store was damaged.
type DamageError struct {
	Path string
	// Aside is where the file has been moved; empty where it is still in use,
	// because what is damaged could be left out.
	Aside string
	Err   error
}

func (e *DamageError) Error() string {
	if e.Aside == "" {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v; the file is now %s, and an empty one is in its place", e.Path, e.Err, e.Aside)
}

func (e *DamageError) Unwrap() error { return e.Err }

// OpenStore opens the store in a folder, which is made where it is not there. A
// damaged file is moved aside and an empty one takes its place; values that are
// damaged are left out. Report is told of each, by a *DamageError, before
// OpenStore returns, and once later if it comes to that nothing more can be kept.
// The error is ErrStoreInUse where another process has it.
func OpenStore(folder string, report func(error)) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	unlock, err := lockFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", folder, err)
	}
	s := &Store{unlock: unlock, report: report}
	s.committed.L = &s.mu
	if err := s.open(filepath.Join(folder, storeName), report); err != nil {
		unlock()
		return nil, fmt.Errorf("store: %w", err)
	}
	return s, nil
}

// open tries the file that is there, and an empty one when it is damaged.
func (s *Store) open(path string, report func(error)) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := replace(path, func() error { return nil }); err != nil {
			return err
		}
	}
	damage := s.openFile(path, report)
	var damaged *DamageError
	if !errors.As(damage, &damaged) {
		return damage
	}
	err := replace(path, func() (err error) {
		damaged.Aside, err = setAside(path)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w, and: %w", damage, err)
	}
	report(damaged)
	return s.openFile(path, report)
}

// openFile opens the file of a store and reads it. A *DamageError is all that an
// empty file helps against.
func (s *Store) openFile(path string, report func(error)) error {
	damaged := func(err error) error { return &DamageError{Path: path, Err: err} }
	file, size, err := openLocked(path)
	if err != nil {
		return err
	}
	fault, err := checkPages(file, size, buckets)
	if err != nil {
		file.Close()
		return damaged(err)
	}
	var db *bbolt.DB
	if err := guarded(func() (err error) {
		db, err = openDatabase(path, func(string, int, os.FileMode) (*os.File, error) { return file, nil })
		return err
	}); err != nil {
		file.Close()
		return damaged(err)
	}
	values, wrong, err := load(db)
	if err != nil {
		file.Close() // the database may hold locks that nobody will open
		return damaged(err)
	}
	if fault != nil {
		report(damaged(fault))
	}
	if wrong > 0 {
		report(damaged(fmt.Errorf("%d values with a wrong checksum are left out", wrong)))
	}
	s.db, s.loaded = db, values
	return nil
}

// openLocked opens a file that only we may use, if it is one of a sane size.
func openLocked(path string) (*os.File, int64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &DamageError{Path: path, Err: fmt.Errorf("no file: %v", info.Mode())}
	}
	if info.Size() > maxStoreSize {
		return nil, 0, &DamageError{Path: path, Err: fmt.Errorf("%d bytes are more than %d", info.Size(), maxStoreSize)}
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	if err := lock(file); err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return file, info.Size(), nil
}

func lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrStoreInUse
	}
	return err
}

// lockFolder keeps others from the folder while the file in it may change.
func lockFolder(folder string) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return sync.OnceFunc(func() { f.Close() }), nil
}

func openDatabase(path string, open func(string, int, os.FileMode) (*os.File, error)) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Nanosecond, MaxSize: maxStoreSize, OpenFile: open, NoStatistics: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrStoreInUse
	}
	return db, err
}

// replace makes the file of an empty store. It gets its name when it is complete
// and on the disk, so that a file with that name was complete once, and after
// the old one has made room.
func replace(path string, makeRoom func() error) error {
	temporary := path + ".new"
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if err := guarded(func() error { return create(temporary) }); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := makeRoom(); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func create(path string) error {
	db, err := openDatabase(path, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range buckets {
			if _, err := tx.CreateBucket([]byte(bucket)); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, db.Close())
}

// setAside renames a damaged file, never over another.
func setAside(path string) (string, error) {
	first := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	aside := first
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", first, n)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, syncFolder(filepath.Dir(path))
}

// syncFolder puts the names in a folder on the disk.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
