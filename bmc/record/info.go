package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// infoLength is the length of the response to Get SEL Info, without completion code.
const infoLength = 14

// Info is the response to Get SEL Info (IPMI v2.0, section 31.2), LSB first.
//
//	0     version, BCD with the major digit in bits 3:0
//	1-2   records
//	3-4   free bytes, FFFFh for that and more
//	5-8   time of the last addition
//	9-12  time of the last erasure
//	13    bit 7 overflow, bits 3:0 operations
type Info struct {
	Version    uint8
	Records    uint16
	Free       uint16 // bytes; MaxFree is that and more
	Added      Time   // NoTime if no record was ever added
	Erased     Time
	Operations Operations
	Overflow   bool // records were lost because the log was full
}

const (
	// MaxFree is the largest number of free bytes in an Info.
	MaxFree = math.MaxUint16
	// Version is the version of logs in IPMI 1.5 and 2.0.
	Version = 0x51

	overflow = 1 << 7
)

// Operations are the optional operations of a log.
type Operations uint8

// The operations.
const (
	TellAllocation Operations = 1 << iota
	Reserve
	AddParts
	Delete

	allOperations Operations = 1<<iota - 1
)

var operationNames = [...]string{"get allocation information", "reserve", "add in parts", "delete"}

// Names are the operations one by one.
func (o Operations) Names() []string {
	names := []string{}
	for bit, name := range operationNames {
		if o&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String is the names in a row: "reserve, delete", or "none".
func (o Operations) String() string {
	if o&allOperations == 0 {
		return "none"
	}
	return strings.Join(o.Names(), ", ")
}

// DecodeInfo reads the data of a response, and ignores further bytes. The error is ErrMalformed
// if there are too few.
func DecodeInfo(b []byte) (Info, error) {
	if len(b) < infoLength {
		return Info{}, fmt.Errorf("%w: the length of its information is %d, less than %d", ErrMalformed, len(b), infoLength)
	}
	return Info{
		Version:    b[0],
		Records:    binary.LittleEndian.Uint16(b[1:]),
		Free:       binary.LittleEndian.Uint16(b[3:]),
		Added:      Time(binary.LittleEndian.Uint32(b[5:])),
		Erased:     Time(binary.LittleEndian.Uint32(b[9:])),
		Operations: Operations(b[13]) & allOperations,
		Overflow:   b[13]&overflow != 0,
	}, nil
}

// Append appends the data of a response to b.
func (i Info) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, i.Version), i.Records)
	b = binary.LittleEndian.AppendUint16(b, i.Free)
	b = binary.LittleEndian.AppendUint32(b, uint32(i.Added))
	b = binary.LittleEndian.AppendUint32(b, uint32(i.Erased))
	flags := byte(i.Operations)
	if i.Overflow {
		flags |= overflow
	}
	return append(b, flags)
}

// VersionText is the version with a point: "1.5".
func (i Info) VersionText() string { return fmt.Sprintf("%X.%X", i.Version&0x0F, i.Version>>4) }
