package record

import (
	"context"
	"encoding/binary"
	"fmt"

	"ipmbd/ipmi"
)

// chunks are how many bytes are read at a time, the best first: all there are,
// all that a record has, and parts for those who have no room for more.
var chunks = [...]int{Whole, RecordLength, 8, 4}

// Whole is a number of bytes to read: all that a record has (IPMI v2.0, section
// 31.5).
const Whole = 0xFF

// nextLength is that of the next record's ID, before the data.
const nextLength = 2

// tooMany are what controllers say of a record that they cannot send at once.
var tooMany = []ipmi.CompletionCode{
	ipmi.CodeCannotReturnBytes, ipmi.CodeLengthInvalid, ipmi.CodeLengthExceeded,
	ipmi.CodeParameterOutOfRange, ipmi.CodeInvalidField,
}

// Records are the log's records, the oldest first; progress is told how many
// have been read. A log that loses records meanwhile is read anew. The errors are
// those of Info and ErrRestless.
func (l *Log) Records(ctx context.Context, progress func(int)) ([]Record, error) {
	info, err := l.Info(ctx)
	if err != nil || info.Records == 0 {
		return nil, err
	}
	for range maxAgain {
		records, err := (&reading{log: l, progress: progress}).run(ctx)
		switch {
		case err == nil:
			return records, nil
		case !isCode(err, ipmi.CodeNotPresent):
			return nil, err
		case len(records) == 0:
			return nil, nil // cleared
		}
	}
	return nil, fmt.Errorf("%w: records went away while it was read, %d times", ErrRestless, maxAgain)
}

// reading is a way through a log.
type reading struct {
	log         *Log
	progress    func(int)
	chunk       int // of chunks
	reserved    bool
	reservation uint16
}

// run reads from the first record to the last. With an error it returns what it
// has read.
func (r *reading) run(ctx context.Context) ([]Record, error) {
	var records []Record
	seen := make(map[uint16]bool)
	for id := First; id != Last; {
		record, next, err := r.record(ctx, id)
		if err != nil {
			return records, err
		}
		switch got := record.ID(); {
		case id != First && got != id:
			return records, fmt.Errorf("%w: asked for record %04Xh it sent %04Xh", ErrNonsense, id, got)
		case seen[got]:
			return records, fmt.Errorf("%w: record %04Xh comes again, after %d records", ErrNonsense, got, len(records))
		case next == First:
			return records, fmt.Errorf("%w: behind record %04Xh comes 0000h, which is none", ErrNonsense, got)
		default:
			seen[got] = true
		}
		records = append(records, record)
		r.progress(len(records))
		id = next
	}
	return records, nil
}

// record reads a record, anew when its reservation is cancelled.
func (r *reading) record(ctx context.Context, id uint16) (record Record, next uint16, err error) {
	for range maxAgain {
		record, next, err = r.parts(ctx, id)
		if !isCode(err, ipmi.CodeReservationCancelled) {
			return record, next, err
		}
		r.reserved = false
		if err := r.reserve(ctx); err != nil {
			return Record{}, 0, err
		}
	}
	return Record{}, 0, fmt.Errorf("%w: the reservation for record %04Xh was cancelled %d times", ErrRestless, id, maxAgain)
}

// parts reads a record in as many parts as it comes in.
func (r *reading) parts(ctx context.Context, id uint16) (record Record, next uint16, err error) {
	for have := 0; have < RecordLength; {
		if chunks[r.chunk] < RecordLength {
			if err := r.reserve(ctx); err != nil {
				return Record{}, 0, err
			}
		}
		part, follower, err := r.part(ctx, id, have)
		switch {
		case isCode(err, tooMany...) && r.chunk+1 < len(chunks):
			r.chunk++
			continue
		case err != nil:
			return Record{}, 0, err
		case len(part) == 0:
			return Record{}, 0, fmt.Errorf("%w: record %04Xh ends after %d bytes, records have %d", ErrNonsense, id, have, RecordLength)
		case len(part) > RecordLength-have:
			return Record{}, 0, fmt.Errorf("%w: record %04Xh has %d bytes, records have %d", ErrNonsense, id, have+len(part), RecordLength)
		case have+len(part) < RecordLength && !r.reserved:
			if err := r.reserve(ctx); err != nil {
				return Record{}, 0, err
			}
			have = 0 // what comes without a reservation may be of another record
			continue
		}
		have += copy(record[have:], part)
		next = follower
	}
	return record, next, nil
}

// reserve makes a reservation, if there is none.
func (r *reading) reserve(ctx context.Context) (err error) {
	if r.reserved {
		return nil
	}
	r.reservation, err = r.log.reserve(ctx)
	r.reserved = err == nil
	return err
}

// part reads what is behind offset, as much as comes at a time.
func (r *reading) part(ctx context.Context, id uint16, offset int) (part []byte, next uint16, err error) {
	count := chunks[r.chunk]
	if offset > 0 || count != Whole {
		count = min(count, RecordLength-offset)
	}
	request := binary.LittleEndian.AppendUint16(nil, r.reservation)
	request = binary.LittleEndian.AppendUint16(request, id)
	data, err := r.log.do(ctx, getEntry, nextLength, append(request, byte(offset), byte(count))...)
	if err != nil {
		return nil, 0, err
	}
	return data[nextLength:], binary.LittleEndian.Uint16(data), nil
}
