package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// FRU describes a replaceable unit: the areas of the Platform Management FRU
// Information Storage Definition v1.0. A nil area is not there.
type FRU struct {
	// Areas that the device holds at first, instead of a file.
	Chassis *FRUChassis `conf:"chassis"`
	Board   *FRUBoard   `conf:"board"`
	Product *FRUProduct `conf:"product"`
}

// FRUChassis is the chassis info area (section 10).
type FRUChassis struct {
	// Type of the chassis as SMBIOS numbers it: 23 is a rack mount chassis.
	Type uint8 `conf:"type"`
	// Texts of the chassis, 2 to 63 characters of Latin-1.
	PartNumber   string `conf:"part-number" format:"record text"`
	SerialNumber string `conf:"serial-number" format:"record text"`
	// More such texts.
	Custom []string `conf:"custom" format:"record text"`
}

// FRUBoard is the board info area (section 11).
type FRUBoard struct {
	// Day on which the board was made, from 1996 on, such as "2026-01-31".
	Made time.Time `conf:"made"` // to a minute; zero is unspecified
	// Texts of the board, 2 to 63 characters of Latin-1.
	Manufacturer string `conf:"manufacturer" format:"record text"`
	Name         string `conf:"name" format:"record text"`
	SerialNumber string `conf:"serial-number" format:"record text"`
	PartNumber   string `conf:"part-number" format:"record text"`
	// More such texts.
	Custom []string `conf:"custom" format:"record text"`
	File   string   // FRU file ID
}

// FRUProduct is the product info area (section 12).
type FRUProduct struct {
	// Texts of the product, 2 to 63 characters of Latin-1.
	Manufacturer string `conf:"manufacturer" format:"record text"`
	Name         string `conf:"name" format:"record text"`
	PartNumber   string `conf:"part-number" format:"record text"`
	Version      string `conf:"version" format:"record text"`
	SerialNumber string `conf:"serial-number" format:"record text"`
	AssetTag     string `conf:"asset-tag" format:"record text"`
	// More such texts.
	Custom []string `conf:"custom" format:"record text"`
	File   string   // FRU file ID
}

const (
	fruVersion    = 0x01
	fruUnit       = 8 // bytes, of offsets and lengths
	fruHeader     = 8 // bytes
	maxFRUArea    = 255 * fruUnit
	endOfFields   = 0xC1
	english       = 0
	maxFRUMinutes = 1<<24 - 1
)

// fruEpoch is the time from which the minutes of a board's date count.
var fruEpoch = time.Date(1996, 1, 1, 0, 0, 0, 0, time.UTC)

// Encode returns the bytes that a device stores, or all faults. They begin with a header (section
// 8).
//
//	0    version
//	2-4  offsets of the chassis, board and product area in units of 8 bytes, 0 for none
//	7    checksum: the sum of bytes 0 to 7 is 0
//
// An area:
//
//	0    version
//	1    length in units of 8 bytes
//	2-   type of the chassis; language, minutes and texts of the board; language and texts of the
//	     product
//	     C1h, zeros up to the length, checksum
func (f FRU) Encode() ([]byte, error) {
	data := make([]byte, fruHeader)
	data[0] = fruVersion
	var errs []error
	add := func(place int, name string, head []byte, texts, custom []string) {
		area, err := fruArea(head, append(texts, custom...))
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		case len(data)/fruUnit > 0xFF:
			errs = append(errs, fmt.Errorf("%s: the areas before it are too long", name))
		default:
			data[place] = byte(len(data) / fruUnit)
			data = append(data, area...)
		}
	}
	if c := f.Chassis; c != nil {
		add(2, "chassis", []byte{c.Type}, []string{c.PartNumber, c.SerialNumber}, c.Custom)
	}
	if b := f.Board; b != nil {
		minutes, err := fruMinutes(b.Made)
		errs = append(errs, err)
		add(3, "board", append([]byte{english}, minutes...),
			[]string{b.Manufacturer, b.Name, b.SerialNumber, b.PartNumber, b.File}, b.Custom)
	}
	if p := f.Product; p != nil {
		add(4, "product", []byte{english},
			[]string{p.Manufacturer, p.Name, p.PartNumber, p.Version, p.SerialNumber, p.AssetTag, p.File}, p.Custom)
	}
	data[fruHeader-1] = zeroSum(data[:fruHeader-1])
	return data, errors.Join(errs...)
}

// fruMinutes is a time in minutes from 1996 on, LSB first.
func fruMinutes(made time.Time) ([]byte, error) {
	var minutes int64
	if !made.IsZero() {
		if minutes = (made.Unix() - fruEpoch.Unix()) / 60; minutes < 0 || minutes > maxFRUMinutes {
			return []byte{0, 0, 0}, fmt.Errorf("board: %v is not within 1996 to 2027", made)
		}
	}
	return binary.LittleEndian.AppendUint32(nil, uint32(minutes))[:3], nil
}

// fruArea is an area of the bytes from 2 up to the texts, and the texts.
func fruArea(head []byte, texts []string) ([]byte, error) {
	area := append([]byte{fruVersion, 0}, head...)
	for _, text := range texts {
		var err error
		if area, err = appendText(area, text, MaxFRUText); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	area = append(area, endOfFields)
	for len(area)%fruUnit != fruUnit-1 {
		area = append(area, 0)
	}
	if len(area) >= maxFRUArea {
		return nil, fmt.Errorf("%d bytes are more than %d", len(area)+1, maxFRUArea)
	}
	area[1] = byte((len(area) + 1) / fruUnit)
	return append(area, zeroSum(area)), nil
}

// zeroSum is the byte that makes the sum zero.
func zeroSum(data []byte) (sum byte) {
	for _, b := range data {
		sum -= b
	}
	return sum
}
