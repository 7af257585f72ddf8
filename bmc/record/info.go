package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// infoLength is that of the answer to Get SEL Info, without completion code.
const infoLength = 14

// Info is the answer to Get SEL Info (IPMI v2.0, section 31.2), LSB first.
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
	Added      Time   // NoTime if nothing ever was
	Erased     Time
	Operations Operations
	Overflow   bool // records were lost for want of room
}

// MaxFree is as many free bytes as can be told of.
const MaxFree = math.MaxUint16

// Version of the logs of IPMI 1.5 and 2.0.
const Version = 0x51

const overflow = 1 << 7

// Operations are what a log can do beyond what all can.
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

// DecodeInfo reads the data of an answer. What is behind them is passed over; too
// few are ErrNonsense.
func DecodeInfo(b []byte) (Info, error) {
	if len(b) < infoLength {
		return Info{}, fmt.Errorf("%w: what it says of itself has %d bytes, %d are needed", ErrNonsense, len(b), infoLength)
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

// Append appends the data of an answer to b.
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
