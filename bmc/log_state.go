package bmc

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"ipmbd/bmc/record"
)

const (
	logSetting  = "log"
	entryPrefix = "log/"
	// unspecifiedOffset of SEL time to UTC (IPMI v2.0, section 31.11a).
	unspecifiedOffset = 0x07FF
)

// name is the name of the entry's record in the journal.
func (e entry) name() string { return entryPrefix + strconv.FormatUint(e.number, 10) }

// entryNumber is the number in the name of a record.
func entryNumber(name string) (number uint64, ok bool) {
	text, ok := strings.CutPrefix(name, entryPrefix)
	number, err := strconv.ParseUint(text, 10, 64)
	return number, ok && err == nil
}

// logState is what a log keeps beside its records.
type logState struct {
	lastNumber  uint64
	lastID      uint16 // IDs are not used again before all were
	added       record.Time
	erased      record.Time
	overflow    bool
	ahead       time.Duration // its clock, of ours
	offset      int16         // of its time to UTC, in minutes
	offsetIsSet bool
}

func (s logState) now() time.Time { return time.Now().Add(s.ahead) }

// time is now as a record has it.
func (s logState) time() record.Time { return record.TimeOf(s.now()) }

func (s logState) utcOffset() int16 {
	if !s.offsetIsSet {
		return unspecifiedOffset
	}
	return s.offset
}

// A state in the store: number u64, ID u16, times u32, clock in ns i64, offset
// i16, flags u8, LSB first.
const (
	logStateLength = 29
	overflowFlag   = 1 << 0
	offsetFlag     = 1 << 1
)

// change stores the state.
func (s logState) change() change { return putValue(logSetting, s.append(nil)...) }

func (s logState) append(b []byte) []byte {
	var flags byte
	if s.overflow {
		flags |= overflowFlag
	}
	if s.offsetIsSet {
		flags |= offsetFlag
	}
	b = binary.LittleEndian.AppendUint64(b, s.lastNumber)
	b = binary.LittleEndian.AppendUint16(b, s.lastID)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.added))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.erased))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.ahead))
	b = binary.LittleEndian.AppendUint16(b, uint16(s.offset))
	return append(b, flags)
}

func parseLogState(b []byte) (logState, bool) {
	if len(b) != logStateLength {
		return logState{}, false
	}
	flags := b[28]
	return logState{
		lastNumber:  binary.LittleEndian.Uint64(b),
		lastID:      binary.LittleEndian.Uint16(b[8:]),
		added:       record.Time(binary.LittleEndian.Uint32(b[10:])),
		erased:      record.Time(binary.LittleEndian.Uint32(b[14:])),
		ahead:       time.Duration(binary.LittleEndian.Uint64(b[18:])),
		offset:      int16(binary.LittleEndian.Uint16(b[26:])),
		overflow:    flags&overflowFlag != 0,
		offsetIsSet: flags&offsetFlag != 0,
	}, true
}

// loadState is the state in the store. Where it was lost the records tell the
// number and ID to go on from.
func (l *Log) loadState() logState {
	state, ok := parseLogState(l.journal.value(logSetting))
	if !ok {
		state.added, state.erased = record.NoTime, record.NoTime
	}
	if n := len(l.entries); n > 0 && l.entries[n-1].number > state.lastNumber {
		last := l.entries[n-1]
		state.lastNumber, state.lastID = last.number, last.record.ID()
	}
	return state
}

// reservation is the ID of the reservation that holds, or the last one that was
// cancelled (IPMI v2.0, sections 31.4 and 33.11): 0 is none.
type reservation struct {
	id   uint16
	held bool
}

// next makes all earlier reservations invalid.
func (r *reservation) next() uint16 {
	if r.id++; r.id == 0 {
		r.id++
	}
	r.held = true
	return r.id
}

func (r *reservation) cancel() { r.held = false }

func (r *reservation) is(id uint16) bool { return r.held && id == r.id }
