package bmc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"ipmbd/bmc/record"
	"ipmbd/internal/readfile"
	"ipmbd/ipmi"
)

// FRUConfig describes a FRU inventory device.
type FRUConfig struct {
	// ID of the device. 0 is the one of the controller itself.
	ID uint8 `conf:"id" range:"0..254"`
	// Name of the device, 2 to 16 characters of Latin-1. The record of the BMC itself has the name
	// and entity of device 0, unless `controllers` says otherwise.
	Name string `conf:"name,required" format:"record name"`
	// What the device belongs to (IPMI v2.0, table 43-13): 7 is the system board.
	Entity uint8 `conf:"entity"`
	// Which of several entities it is.
	Instance uint8 `conf:"instance" range:"0..127"`
	// File with the bytes that the device holds at first.
	File   string      `conf:"file"`
	Data   []byte      // those bytes themselves
	Fields *record.FRU `conf:",inline"` // or what they say
	// Size of the device in bytes. By default it is as large as its first content, which without
	// a file and fields is the header of an empty FRU.
	Size int `conf:"size" range:"1..65535"`
}

const (
	noFRU      = 0xFF // is no device ID
	maxFRUSize = 0xFFFF
)

// data are the bytes that the device holds at first, without those of its file.
func (c FRUConfig) data() ([]byte, error) {
	var sources int
	data, err := c.Data, error(nil)
	if c.Data != nil {
		sources++
	}
	if c.Fields != nil {
		sources++
		data, err = c.Fields.Encode()
	}
	if c.File != "" {
		sources++
	}
	if data == nil && err == nil { // Programs look for a header: an empty FRU has one that says so.
		data, err = record.FRU{}.Encode()
	}
	switch {
	case err != nil:
		return nil, err
	case sources > 1:
		return nil, errors.New("more than one of file, data and fields")
	}
	return c.sized(data)
}

// sized are data with the size of the device.
func (c FRUConfig) sized(data []byte) ([]byte, error) {
	if size := max(len(data), c.Size); size > maxFRUSize {
		return nil, fmt.Errorf("%d bytes are more than %d", size, maxFRUSize)
	}
	return slices.Concat(data, make([]byte, max(c.Size-len(data), 0))), nil
}

// CheckFile says why the file cannot be read. Then the device is an empty one.
func (c FRUConfig) CheckFile() error {
	if c.File == "" {
		return nil
	}
	if _, err := readfile.InTime(c.File, maxFRUSize); err != nil {
		return fmt.Errorf("FRU %d, %q is empty: %w", c.ID, c.Name, err)
	}
	return nil
}

// Validate reports all faults, except those of CheckFile.
func (c FRUConfig) Validate() error {
	_, err := c.data()
	errs := []error{err}
	if _, err := record.Latin1(c.Name, record.MaxName); err != nil {
		errs = append(errs, fmt.Errorf("the name %w", err))
	}
	if c.ID == noFRU {
		errs = append(errs, errors.New("ID FFh is reserved"))
	}
	if c.Instance > maxInstance {
		errs = append(errs, fmt.Errorf("entity instance %02Xh is above %02Xh", c.Instance, maxInstance))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("FRU %d, %q: %w", c.ID, c.Name, err)
	}
	return nil
}

// fruDevice is a FRU inventory device.
type fruDevice struct {
	FRUConfig
	journal *journal
	initial []byte // the data of the configuration
	unread  error  // why its file could not be read
}

// primaryFRU is the FRU device of the controller itself. The controller's record stands for it
// (IPMI v2.0, tables 43-7 and 43-8).
const primaryFRU = 0

func (d *fruDevice) isPrimary() bool { return d.ID == primaryFRU }

// newFRUs returns the devices of descriptions, or all faults in them.
func newFRUs(configs []FRUConfig, j *journal) (all []*fruDevice, err error) {
	var errs []error
	for _, c := range configs {
		if err := c.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, other := range all {
			if other.ID == c.ID {
				errs = append(errs, fmt.Errorf("FRU %d, %q: the ID is that of %q", c.ID, c.Name, other.Name))
			}
		}
		initial, err := c.data()
		errs = append(errs, err)
		all = append(all, &fruDevice{FRUConfig: c, journal: j, initial: initial})
	}
	return all, errors.Join(errs...)
}

// openFRUs opens the devices of the configuration, and reports those whose data in the journal
// hide a change of the configuration.
func (b *BMC) openFRUs() (err error) {
	b.frus, err = newFRUs(b.config.FRUs, b.journal)
	for _, d := range b.frus {
		d.readFile()
		before := b.journal.value(d.sumSetting())
		if before != nil && !bytes.Equal(before, d.sum()) && b.journal.value(d.dataName()) != nil {
			b.config.Report(fmt.Errorf("FRU %d, %q: its configuration has changed; written data stay", d.ID, d.Name))
		}
	}
	return err
}

// readFile reads the device's file, if it has one.
func (d *fruDevice) readFile() {
	if d.File == "" {
		return
	}
	var data []byte
	if data, d.unread = readfile.InTime(d.File, maxFRUSize); d.unread == nil {
		d.initial, _ = d.sized(data) // InTime limits the size, and Validate that of the device.
	}
}

// Names in the journal: the data of a device that was written to, and the checksum of the
// configuration's data at that time.
func (d *fruDevice) dataName() string   { return fmt.Sprintf("fru/%d", d.ID) }
func (d *fruDevice) sumSetting() string { return fmt.Sprintf("fru/%d/configured", d.ID) }

// sum is the checksum of the configuration's data.
func (d *fruDevice) sum() []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(d.initial, castagnoli))
}

// bytes are the data that the device holds. The caller must not change them.
func (d *fruDevice) bytes() []byte { return d.content(d.journal.value(d.dataName())) }

// content returns what the device holds when the journal has stored these bytes. The device is as
// large as the configuration says, and at least as large as the bytes that were written to it.
func (d *fruDevice) content(stored []byte) []byte {
	switch missing := len(d.initial) - len(stored); {
	case stored == nil:
		return d.initial
	case missing > 0:
		return slices.Concat(stored, make([]byte, missing))
	}
	return stored
}

// write writes within the device and returns when the journal has stored that. The bytes of a
// write that fails are neither read nor stored with the next write.
func (d *fruDevice) write(offset int, part []byte) error {
	part = slices.Clone(part) // The request may end before the journal uses it.
	return d.journal.write(putValue(d.sumSetting(), d.sum()...), editValue(d.dataName(), func(stored []byte) []byte {
		data := slices.Clone(d.content(stored))
		copy(data[offset:], part)
		return data
	}))
}

// fruCommands are the commands of FRU inventory devices (IPMI v2.0, section 34).
var fruCommands = []command{
	{ipmi.NetFnStorage, 0x10, 1, 1, atOnce, ofFRU(getFRUArea)},
	{ipmi.NetFnStorage, 0x11, 4, 4, atOnce, ofFRU(readFRU)},
	{ipmi.NetFnStorage, 0x12, 4, 3 + 255, waits, ofFRU(writeFRU)},
}

// ofFRU serves a command of one device, whose ID comes first.
func ofFRU(serve func(*fruDevice, *ipmi.Request) ipmi.Response) func(*BMC, *ipmi.Request) ipmi.Response {
	return func(b *BMC, req *ipmi.Request) ipmi.Response {
		for _, d := range b.frus {
			if d.ID == req.Data[0] {
				return serve(d, req)
			}
		}
		if req.Data[0] == noFRU {
			return refuse(ipmi.CodeInvalidField)
		}
		return refuse(ipmi.CodeNotPresent)
	}
}

const (
	accessByBytes = 0
	// Limits of the bytes behind the count in a response: on IPMB, where a message has 32 bytes
	// (IPMB v1.0, section 2.11), and on the narrowest system interface, BT with 251 bytes.
	maxFRURead     = 250
	maxFRUReadIPMB = 23
)

// getFRUArea answers with the size in bytes, and that the device is accessed by bytes.
func getFRUArea(d *fruDevice, _ *ipmi.Request) ipmi.Response {
	return answer(append(words(len(d.bytes())), accessByBytes)...)
}

// readFRU takes device, offset and count. It answers with the number of bytes, which may be less
// than count, and the bytes.
func readFRU(d *fruDevice, req *ipmi.Request) ipmi.Response {
	data, offset := d.bytes(), int(binary.LittleEndian.Uint16(req.Data[1:]))
	if offset >= len(data) {
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	count := min(int(req.Data[3]), len(data)-offset, maxFRURead)
	if req.Requester != 0 {
		count = min(count, maxFRUReadIPMB)
	}
	return answer(append([]byte{byte(count)}, data[offset:offset+count]...)...)
}

// writeFRU takes device, offset and bytes. It answers with the number of bytes.
func writeFRU(d *fruDevice, req *ipmi.Request) ipmi.Response {
	offset, part := int(binary.LittleEndian.Uint16(req.Data[1:])), req.Data[3:]
	if offset+len(part) > len(d.bytes()) {
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	if err := d.write(offset, part); err != nil {
		return outcome(err)
	}
	return answer(byte(len(part)))
}
