package bmc

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"ipmbd/ipmi"
)

// logCommands are those of the system event log (IPMI v2.0, section 31).
var logCommands = []command{
	{ipmi.NetFnStorage, 0x40, 0, 0, getLogInfo},
	{ipmi.NetFnStorage, 0x42, 0, 0, reserveLog},
	{ipmi.NetFnStorage, 0x43, 6, 6, getLogEntry},
	{ipmi.NetFnStorage, 0x44, recordLength, recordLength, addLogEntry},
	{ipmi.NetFnStorage, 0x47, 6, 6, clearLog},
	{ipmi.NetFnStorage, 0x48, 0, 0, getLogTime},
	{ipmi.NetFnStorage, 0x49, 4, 4, setLogTime},
}

const (
	logVersion    = 0x51
	canReserve    = 1 << 1
	hasOverflown  = 1 << 7
	wholeRecord   = 0xFF // bytes to read
	eraseInitiate = 0xAA
	eraseStatus   = 0x00
	erased        = 0x01
	firstUntimed  = 0xE0 // types of records without a time
	noTime        = math.MaxUint32
	offsetOfTime  = 3
)

// getLogInfo: version, records, free bytes, times of the last addition and
// erasure, what is supported.
func getLogInfo(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	l := b.log
	l.mu.Lock()
	defer l.mu.Unlock()
	free := min((maxRecords-len(l.records))*recordLength, math.MaxUint16)
	data := []byte{logVersion}
	data = binary.LittleEndian.AppendUint16(data, uint16(len(l.records)))
	data = binary.LittleEndian.AppendUint16(data, uint16(free))
	data = binary.LittleEndian.AppendUint32(data, seconds(l.added))
	data = binary.LittleEndian.AppendUint32(data, seconds(l.erased))
	support := byte(canReserve)
	if l.overflow {
		support |= hasOverflown
	}
	return answer(append(data, support)...)
}

// seconds is a time as the log has it; a time that never was is unspecified.
func seconds(t time.Time) uint32 {
	if t.IsZero() {
		return noTime
	}
	return uint32(t.Unix())
}

func reserveLog(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	return answer(binary.LittleEndian.AppendUint16(nil, b.log.reserve())...)
}

// getLogEntry takes reservation, record ID, offset and number of bytes; a
// reservation is needed for a part only.
func getLogEntry(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response {
	data := req.Data
	reservation, id := binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:])
	offset, count := int(data[4]), int(data[5])
	if offset != 0 && !b.log.reserved(reservation) {
		return refuse(ipmi.CodeReservationCancelled)
	}
	r, next, ok := b.log.find(id)
	switch {
	case !ok:
		return refuse(ipmi.CodeNotPresent)
	case offset >= recordLength:
		return refuse(ipmi.CodeParameterOutOfRange)
	case count == wholeRecord:
		count = recordLength - offset
	}
	end := min(offset+count, recordLength)
	return answer(append(binary.LittleEndian.AppendUint16(nil, next), r[offset:end]...)...)
}

// addLogEntry takes a record; its ID and, where its type has one, its time are
// the log's to give.
func addLogEntry(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response {
	data := req.Data
	r := Record(data)
	if r[2] < firstUntimed {
		binary.LittleEndian.PutUint32(r[offsetOfTime:], seconds(b.log.now()))
	}
	id, err := b.log.add(r)
	if err != nil {
		return refuse(ipmi.CodeOf(err))
	}
	return answer(binary.LittleEndian.AppendUint16(nil, id)...)
}

// clearLog takes reservation, "CLR", and what to do: erase, or tell how far that
// is, which is always done.
func clearLog(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response {
	data := req.Data
	switch {
	case !b.log.reserved(binary.LittleEndian.Uint16(data)):
		return refuse(ipmi.CodeReservationCancelled)
	case string(data[2:5]) != "CLR", data[5] != eraseInitiate && data[5] != eraseStatus:
		return refuse(ipmi.CodeInvalidField)
	case data[5] == eraseInitiate:
		b.log.clear()
	}
	return answer(erased)
}

func getLogTime(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	return answer(binary.LittleEndian.AppendUint32(nil, seconds(b.log.now()))...)
}

// setLogTime sets the log's own clock.
func setLogTime(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response {
	data := req.Data
	l := b.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead = time.Until(time.Unix(int64(binary.LittleEndian.Uint32(data)), 0))
	return answer()
}
