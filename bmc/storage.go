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
	// Sensors, and controllers that the SDR repository names: this one, or others.
	Sensors     []SensorConfig
	Controllers []Controller
	FRUs        []FRUConfig
	// Report is told, while the storage is opened, of damage, by a *DamageError, and
	// of a changed configuration that what is kept hides; and once later if nothing
	// more can be kept. nil is allowed without a folder only.
	Report func(error)
}

// Validate reports all that is wrong.
func (c StorageConfig) Validate() error {
	var errs []error
	if c.Folder != "" && c.Report == nil {
		errs = append(errs, fmt.Errorf("folder %s: nobody is told of damage", c.Folder))
	}
	_, sensors := NewSensors(c.Sensors)
	_, frus := OpenFRUs(c.FRUs, nil)
	errs = append(errs, c.Log.Validate(), sensors, frus)
	for _, controller := range c.Controllers {
		errs = append(errs, controller.Validate())
	}
	return errors.Join(errs...)
}

// Storage is what a controller keeps.
type Storage struct {
	Log         *Log
	Sensors     *Sensors
	FRUs        *FRUs
	Controllers []Controller

	store *Store
}

// records makes the SDR repository of what is there.
func (s *Storage) records() *repository {
	r := &repository{made: s.Log.Now()}
	for _, c := range s.Controllers {
		r.addController(c)
	}
	for _, each := range s.Sensors.list() {
		r.addSensor(each)
	}
	for _, d := range s.FRUs.list() {
		r.addFRU(d.ID, d.Entity, d.Instance, d.Name)
	}
	return r
}

// OpenStorage opens what a controller keeps. See [OpenStore] for what happens to
// a damaged file.
func OpenStorage(c StorageConfig) (*Storage, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Storage{Controllers: c.Controllers}
	s.Sensors, _ = NewSensors(c.Sensors) // Validate has tried
	if c.Folder != "" {
		store, err := OpenStore(c.Folder, c.Report)
		if err != nil {
			return nil, err
		}
		s.store = store
	}
	s.Log = OpenLog(c.Log, s.store)
	frus, err := OpenFRUs(c.FRUs, s.store)
	if err != nil {
		s.Close()
		return nil, err
	}
	s.FRUs = frus
	for _, d := range frus.list() {
		if d.hidden {
			c.Report(fmt.Errorf("FRU %d, %q: its configuration has changed; what was written to it stands", d.ID, d.Name))
		}
	}
	return s, nil
}

// Close gives the folder back. What is to be kept after it fails.
func (s *Storage) Close() error { return s.store.Close() }
