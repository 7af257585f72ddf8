package bmc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"ipmbd/ipmi"
)

// FRUConfig describes a FRU inventory device.
type FRUConfig struct {
	// ID of the device. 0 is the one of the controller itself.
	ID uint8 `conf:"id" range:"0..254"`
	// Name of the device, 2 to 16 characters of ASCII.
	Name string `conf:"name,required"`
	// What the device belongs to (IPMI v2.0, table 43-13): 7 is the system board.
	Entity uint8 `conf:"entity"`
	// Which of several entities it is.
	Instance uint8 `conf:"instance" range:"0..127"`
	// File with the bytes that the device holds at first.
	File   string `conf:"file"`
	Data   []byte // those bytes themselves
	Fields *FRU   `conf:",inline"` // or what they say
	// Size of the device in bytes. By default it is as large as its first content.
	Size int `conf:"size" range:"1..65535"`
}

const (
	noFRU      = 0xFF // is no device ID
	maxFRUSize = 0xFFFF
)

// content is what the device holds at first, or what is wrong with it.
func (c FRUConfig) content() ([]byte, error) {
	var sources int
	data, err := c.Data, error(nil)
	if c.Data != nil {
		sources++
	}
	if c.Fields != nil {
		sources++
		data, err = c.Fields.bytes()
	}
	if c.File != "" {
		sources++
		data, err = os.ReadFile(c.File)
	}
	switch {
	case err != nil:
		return nil, err
	case sources > 1:
		return nil, errors.New("more than one of file, data and fields")
	case max(len(data), c.Size) > maxFRUSize:
		return nil, fmt.Errorf("%d bytes are more than %d", max(len(data), c.Size), maxFRUSize)
	}
	return append(append([]byte{}, data...), make([]byte, max(c.Size-len(data), 0))...), nil
}

// Validate reports what is wrong; it reads the file.
func (c FRUConfig) Validate() error {
	_, err := c.content()
	if name := validName(c.Name); name != nil {
		err = errors.Join(err, name)
	}
	if c.ID == noFRU {
		err = errors.Join(err, errors.New("ID FFh is reserved"))
	}
	if c.Instance > maxInstance {
		err = errors.Join(err, fmt.Errorf("entity instance %02Xh is above %02Xh", c.Instance, maxInstance))
	}
	if err != nil {
		return fmt.Errorf("FRU %d, %q: %w", c.ID, c.Name, err)
	}
	return nil
}

// fruDevice is a FRU inventory device. The bytes are never changed: who writes
// puts others in their place.
type fruDevice struct {
	FRUConfig
	store *Store
	// configured is the checksum of what the configuration says, which is kept with
	// what is written; hidden: it has changed since.
	configured []byte
	hidden     bool

	mu   sync.Mutex
	data []byte
}

func fruSetting(id uint8) string { return fmt.Sprintf("fru/%d/configured", id) }

// written takes what was written before the start. The device is as large as the
// configuration says, and holds all of it.
func (d *fruDevice) written(data, configured []byte) {
	d.hidden = configured != nil && !bytes.Equal(configured, d.configured)
	d.data = append(data, make([]byte, max(len(d.data)-len(data), 0))...)
}

// FRUs are the FRU inventory devices of a controller. Their methods may be called
// from several goroutines at once.
type FRUs struct {
	all  []*fruDevice
	byID map[uint8]*fruDevice
}

// OpenFRUs opens the devices of descriptions, with what has been written to them
// in the store, or reports all that is wrong.
func OpenFRUs(configs []FRUConfig, store *Store) (*FRUs, error) {
	all := &FRUs{byID: make(map[uint8]*fruDevice)}
	var errs []error
	for _, c := range configs {
		if err := c.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if other := all.byID[c.ID]; other != nil {
			errs = append(errs, fmt.Errorf("FRU %d, %q: the ID is that of %q", c.ID, c.Name, other.Name))
		}
		data, err := c.content()
		errs = append(errs, err)
		configured := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
		d := &fruDevice{FRUConfig: c, store: store, data: data, configured: configured}
		all.all, all.byID[c.ID] = append(all.all, d), d
	}
	for _, v := range store.values(fruBucket) {
		if d := all.byID[v.key[0]]; d != nil {
			d.written(v.data, store.setting(fruSetting(d.ID)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// list is all devices; a controller without any has a nil FRUs.
func (f *FRUs) list() []*fruDevice {
	if f == nil {
		return nil
	}
	return f.all
}

func (f *FRUs) find(id uint8) *fruDevice {
	if f == nil {
		return nil
	}
	return f.byID[id]
}

func (d *fruDevice) bytes() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.data
}

// write writes within the device and returns when that is kept.
func (d *fruDevice) write(offset int, part []byte) ipmi.CompletionCode {
	d.mu.Lock()
	before := d.data
	if offset+len(part) > len(before) {
		d.mu.Unlock()
		return ipmi.CodeParameterOutOfRange
	}
	after := append([]byte{}, before...)
	copy(after[offset:], part)
	d.data = after
	w := d.store.begin(put(fruBucket, []byte{d.ID}, after), put(settingsBucket, []byte(fruSetting(d.ID)), d.configured))
	d.mu.Unlock()
	err := w.wait()
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if &d.data[0] == &after[0] { // nobody has written since
			d.data = before
		}
	}
	return ipmi.CodeOf(err)
}
