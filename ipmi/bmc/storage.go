package bmc

import (
	"errors"
	"fmt"
)

// StorageConfig says what a controller keeps.
type StorageConfig struct {
	// Folder is where it is kept; without one it is in memory.
	Folder string
	Log    LogConfig
	// Report is told of damage, by a *DamageError, while the storage is opened;
	// nil is allowed without a folder only.
	Report func(error)
}

// Validate reports all that is wrong.
func (c StorageConfig) Validate() error {
	var errs []error
	if c.Folder != "" && c.Report == nil {
		errs = append(errs, fmt.Errorf("folder %s: nobody is told of damage", c.Folder))
	}
	return errors.Join(append(errs, c.Log.Validate())...)
}

// Storage is what a controller keeps.
type Storage struct {
	Log *Log

	store *Store
}

// OpenStorage opens what a controller keeps. See [OpenStore] for what happens to
// a damaged file.
func OpenStorage(c StorageConfig) (*Storage, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Storage{}
	if c.Folder != "" {
		store, err := OpenStore(c.Folder, c.Report)
		if err != nil {
			return nil, err
		}
		s.store = store
	}
	s.Log = OpenLog(c.Log, s.store)
	return s, nil
}

// Close gives the folder back. What is to be kept after it fails.
func (s *Storage) Close() error { return s.store.Close() }
