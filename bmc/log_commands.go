package bmc

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// logCommands are the commands of the system event log (IPMI v2.0, section 31).
var logCommands = []command{
	{ipmi.NetFnStorage, 0x40, 0, 0, atOnce, getLogInfo},
	{ipmi.NetFnStorage, 0x41, 0, 0, atOnce, getLogAllocation},
	{ipmi.NetFnStorage, 0x42, 0, 0, atOnce, reserveLog},
	{ipmi.NetFnStorage, 0x43, 6, 6, atOnce, getLogEntry},
	{ipmi.NetFnStorage, 0x44, record.RecordLength, record.RecordLength, waits, addLogEntry},
	{ipmi.NetFnStorage, 0x45, 6, 6 + record.RecordLength, waits, addPartOfLogEntry},
	{ipmi.NetFnStorage, 0x46, 4, 4, waits, deleteLogEntry},
	{ipmi.NetFnStorage, 0x47, 6, 6, waits, clearLog},
	{ipmi.NetFnStorage, 0x48, 0, 0, atOnce, getLogTime},
	{ipmi.NetFnStorage, 0x49, 4, 4, waits, setLogTime},
	{ipmi.NetFnStorage, 0x5C, 0, 0, atOnce, getLogOffset},
	{ipmi.NetFnStorage, 0x5D, 2, 2, waits, setLogOffset},
}

const (
	eraseInitiate   = 0xAA
	eraseStatus     = 0x00
	eraseInProgress = 0x00
	erased          = 0x01
	partInProgress  = 0x00
	lastPart        = 0x01
	maxUTCOffset    = 1440 // minutes
	// codeTypeUnsupported: a record of this type cannot be added (section 31.6).
	codeTypeUnsupported ipmi.CompletionCode = 0x80
	// codeWrongLength: the parts of a record are not as long as a record (section 31.7).
	codeWrongLength ipmi.CompletionCode = 0x80
)

func getLogInfo(b *BMC, _ *ipmi.Request) ipmi.Response {
	l := b.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return answer(record.Info{
		Version:    record.Version,
		Records:    uint16(len(l.entries)),
		Free:       uint16(min(l.free()*record.RecordLength, record.MaxFree)),
		Added:      l.state.Added,
		Erased:     l.state.Erased,
		Operations: record.TellAllocation | record.Reserve | record.AddParts | record.Delete,
		Overflow:   l.state.Overflow,
	}.Append(nil)...)
}

// free is the number of records that fit. There may be more records than capacity if the
// configuration has made the log smaller. The caller holds mu.
func (l *Log) free() int { return max(l.capacity-len(l.entries), 0) }

// getLogAllocation answers with the number of units, bytes of each, free units, the largest free
// block, and the largest record in units.
func getLogAllocation(b *BMC, _ *ipmi.Request) ipmi.Response {
	l := b.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return answer(append(words(l.capacity, record.RecordLength, l.free(), l.free()), 1)...)
}

func reserveLog(b *BMC, req *ipmi.Request) ipmi.Response { return b.log.holder.reserve(ownerOf(req)) }

func getLogEntry(b *BMC, req *ipmi.Request) ipmi.Response {
	return answerPart(req, &b.log.holder, b.log.findRecord)
}

const lengthOfID = 2 // of a record

// answerPart takes reservation, record ID, offset and number of bytes. It needs a reservation if
// the offset is not 0. It answers with the ID of the next record and the bytes.
func answerPart(req *ipmi.Request, holder *reservation, find func(id uint16) (whole []byte, next uint16)) ipmi.Response {
	offset, count := int(req.Data[4]), int(req.Data[5])
	if offset != 0 && !holder.holds(claimOf(req)) {
		return refuse(ipmi.CodeReservationCancelled)
	}
	whole, next := find(binary.LittleEndian.Uint16(req.Data[2:]))
	switch {
	case whole == nil:
		return refuse(ipmi.CodeNotPresent)
	case offset >= len(whole):
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	end := min(offset+count, len(whole)) // A count of record.Whole is beyond it.
	return answer(append(words(int(next)), whole[offset:end]...)...)
}

// addLogEntry takes a record. The log gives it its ID and, if its type has one, its time.
func addLogEntry(b *BMC, req *ipmi.Request) ipmi.Response {
	r := record.Record(req.Data)
	if !isRecordType(r.Type()) {
		return refuse(codeTypeUnsupported)
	}
	stamp(&r, record.TimeOf(b.log.Now()))
	id, err := b.log.add(r)
	return answerID(id, nil, ipmi.CodeOf(err))
}

// isRecordType reports whether a type of records is not reserved (section 31.6.1).
func isRecordType(t record.Type) bool { return t == record.SystemEvent || t >= record.FirstOEM }

// stamp gives a record its time, if its type has one.
func stamp(r *record.Record, now record.Time) {
	if r.Type() < record.FirstUntimed {
		binary.LittleEndian.PutUint32(r[record.OffsetOfTime:], uint32(now))
	}
}

// answerID answers with the ID of a record when a change of the log is stored.
func answerID(id uint16, w *journalWrite, code ipmi.CompletionCode) ipmi.Response {
	if code = cmp.Or(code, ipmi.CodeOf(w.wait())); code != ipmi.CodeOK {
		return refuse(code)
	}
	return answer(words(int(id))...)
}

// addPartOfLogEntry takes reservation, record ID, offset, whether the part is the last one, and
// the part. The first part has ID and offset 0; each later part begins where the part before it
// ended.
func addPartOfLogEntry(b *BMC, req *ipmi.Request) ipmi.Response {
	data := req.Data
	progress := data[5]
	if progress != partInProgress && progress != lastPart {
		return refuse(ipmi.CodeInvalidField)
	}
	return answerID(b.log.addPart(claimOf(req), binary.LittleEndian.Uint16(data[2:]),
		int(data[4]), progress == lastPart, data[6:]))
}

// partialRecord is a record that is added in parts. It is dropped with its reservation.
type partialRecord struct {
	reservation uint16
	id          uint16
	length      int
	record      record.Record
}

// addPart returns the ID of the record and, if the record has become whole, starts its addition.
func (l *Log) addPart(c claim, id uint16, offset int, last bool, data []byte) (uint16, *journalWrite, ipmi.CompletionCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.partial
	switch {
	case !l.holder.holds(c):
		return 0, nil, ipmi.CodeReservationCancelled
	case offset == 0 && id == 0:
		*p = partialRecord{reservation: c.id, id: l.nextID()}
	case p.reservation != c.id || p.id != id || id == 0:
		return 0, nil, ipmi.CodeNotPresent
	case offset != p.length:
		return 0, nil, ipmi.CodeParameterOutOfRange
	}
	if end := p.length + len(data); end > record.RecordLength || last && end != record.RecordLength {
		return 0, nil, codeWrongLength
	}
	p.length += copy(p.record[p.length:], data)
	if !last {
		return p.id, nil, ipmi.CodeOK
	}
	whole := *p
	*p = partialRecord{}
	if !isRecordType(whole.record.Type()) {
		return 0, nil, codeTypeUnsupported
	}
	stamp(&whole.record, l.state.time())
	id, w, err := l.startAddition(whole.record, whole.id)
	return id, w, ipmi.CodeOf(err)
}

// deleteLogEntry takes reservation and record ID.
func deleteLogEntry(b *BMC, req *ipmi.Request) ipmi.Response {
	return answerID(b.log.startRemoval(claimOf(req), binary.LittleEndian.Uint16(req.Data[2:])))
}

// clearLog takes reservation, "CLR", and an action: to erase, or to get the progress.
func clearLog(b *BMC, req *ipmi.Request) ipmi.Response {
	data, c := req.Data, claimOf(req)
	action := data[5]
	var done bool
	var code ipmi.CompletionCode
	switch {
	case string(data[2:5]) != "CLR" || action != eraseInitiate && action != eraseStatus:
		code = ipmi.CodeInvalidField
	case action == eraseInitiate:
		var w *journalWrite
		w, code = b.log.startClear(c)
		done, code = true, cmp.Or(code, ipmi.CodeOf(w.wait()))
	default:
		done, code = b.log.erasure(c)
	}
	switch {
	case code != ipmi.CodeOK:
		return refuse(code)
	case !done:
		return answer(eraseInProgress)
	}
	return answer(erased)
}

func getLogTime(b *BMC, _ *ipmi.Request) ipmi.Response {
	return answer(binary.LittleEndian.AppendUint32(nil, uint32(record.TimeOf(b.log.Now())))...)
}

// setLogTime sets the log's own clock.
func setLogTime(b *BMC, req *ipmi.Request) ipmi.Response {
	return refuse(b.log.setTime(record.Time(binary.LittleEndian.Uint32(req.Data))))
}

// setTime sets the clock. Its offset to UTC is unspecified afterwards (section 31.11b). A time
// before the last record is refused, as records are in the order of their times.
func (l *Log) setTime(t record.Time) ipmi.CompletionCode {
	ahead := time.Until(time.Unix(int64(t), 0))
	return l.setState(func() bool { return t != record.NoTime && t >= l.lastTime() },
		func(s *logState) { s.Ahead, s.Offset = ahead, unspecifiedOffset })
}

// lastTime is the time of the last record that has one, 0 for none. The caller holds mu.
func (l *Log) lastTime() record.Time {
	for _, e := range slices.Backward(l.entries) {
		if t := e.record.Time(); t != record.NoTime {
			return t
		}
	}
	return 0
}

func getLogOffset(b *BMC, _ *ipmi.Request) ipmi.Response {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return answer(words(int(b.log.state.Offset))...)
}

// setLogOffset takes minutes, a signed number.
func setLogOffset(b *BMC, req *ipmi.Request) ipmi.Response {
	offset := int16(binary.LittleEndian.Uint16(req.Data))
	if offset != unspecifiedOffset && (offset < -maxUTCOffset || offset > maxUTCOffset) {
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	return refuse(b.log.setState(nil, func(s *logState) { s.Offset = offset }))
}
