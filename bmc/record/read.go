package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"ipmbd/ipmi"
)

// Whole is a number of bytes to read: all bytes of a record (IPMI v2.0, section 31.5).
const Whole = 0xFF

// chunks are the numbers of bytes to read at a time, the best first: all bytes, the bytes of a
// record, and parts of a record for controllers that cannot send more.
var chunks = [...]int{Whole, RecordLength, 8, 4, 1}

// nextLength is the length of the ID of the next record, before the data.
const nextLength = 2

// tooMany are the codes with which controllers refuse too many bytes.
var tooMany = []ipmi.CompletionCode{
	ipmi.CodeCannotReturnBytes, ipmi.CodeLengthInvalid, ipmi.CodeLengthExceeded,
	ipmi.CodeParameterOutOfRange, ipmi.CodeInvalidField,
}

// Records returns the log's records, the oldest first. It calls progress with the number of
// records that have been read. If the log loses records meanwhile, Records reads it again. It
// returns the errors of Info and ErrChanged, with the records that it has read before. A
// controller that has records needs no information about its log.
func (l *Log) Records(ctx context.Context, progress func(int)) ([]Record, error) {
	info, infoErr := l.Info(ctx)
	var refused *CodeError
	switch {
	case infoErr == nil && info.Records == 0:
		return nil, nil
	case infoErr != nil && !errors.As(infoErr, &refused) && !errors.Is(infoErr, ErrMalformed):
		return nil, infoErr
	}
	records, err := l.readAll(ctx, progress)
	if len(records) == 0 && infoErr != nil {
		return nil, infoErr // There is no log.
	}
	return records, err
}

// readAll reads the records, again if the log loses some meanwhile.
func (l *Log) readAll(ctx context.Context, progress func(int)) (records []Record, err error) {
	for range maxAgain {
		records, err = (&reading{log: l, progress: progress}).readAll(ctx)
		switch {
		case err == nil:
			return records, nil
		case !isCode(err, ipmi.CodeNotPresent):
			return records, err
		case len(records) == 0:
			return nil, nil // cleared
		}
	}
	return records, fmt.Errorf("%w: records were removed while it was read, %d times", ErrChanged, maxAgain)
}

// reading is a way through a log.
type reading struct {
	log         *Log
	progress    func(int)
	chunk       int // of chunks
	reserved    bool
	reservation uint16
}

// readAll reads from the first record to the last. After an error it returns the records that it
// has read.
func (r *reading) readAll(ctx context.Context) ([]Record, error) {
	var records []Record
	seen := make(map[uint16]bool)
	for id := First; id != Last; {
		record, next, err := r.readRecord(ctx, id)
		if err != nil {
			return records, err
		}
		switch got := record.ID(); {
		case id != First && got != id:
			return records, fmt.Errorf("%w: it sent record %04Xh instead of %04Xh", ErrMalformed, got, id)
		case seen[got]:
			return records, fmt.Errorf("%w: record %04Xh comes again, at place %d", ErrMalformed, got, len(records)+1)
		case next == First:
			return records, fmt.Errorf("%w: the record behind %04Xh is 0000h, which is no ID", ErrMalformed, got)
		default:
			seen[got] = true
		}
		records = append(records, record)
		r.progress(len(records))
		id = next
	}
	return records, nil
}

// readRecord reads a record, and again when its reservation is cancelled.
func (r *reading) readRecord(ctx context.Context, id uint16) (record Record, next uint16, err error) {
	for range maxAgain {
		record, next, err = r.readParts(ctx, id)
		if !isCode(err, ipmi.CodeReservationCancelled) {
			return record, next, err
		}
		r.reserved = false
		if err := r.reserve(ctx); err != nil {
			return Record{}, 0, err
		}
	}
	return Record{}, 0, fmt.Errorf("%w: the reservation for record %04Xh was cancelled %d times", ErrChanged, id, maxAgain)
}

// readParts reads a record in as many parts as it comes in.
func (r *reading) readParts(ctx context.Context, id uint16) (record Record, next uint16, err error) {
	for have := 0; have < RecordLength; {
		if chunks[r.chunk] < RecordLength {
			if err := r.reserve(ctx); err != nil {
				return Record{}, 0, err
			}
		}
		part, follower, err := r.readPart(ctx, id, have)
		switch {
		case isCode(err, tooMany...) && r.chunk+1 < len(chunks):
			r.chunk++
			continue
		case err != nil:
			return Record{}, 0, err
		case len(part) == 0, have+len(part) > RecordLength:
			return Record{}, 0, fmt.Errorf("%w: the length of record %04Xh is %d, not %d", ErrMalformed, id, have+len(part), RecordLength)
		case have+len(part) < RecordLength && !r.reserved:
			if err := r.reserve(ctx); err != nil {
				return Record{}, 0, err
			}
			have = 0 // A part that was read without a reservation may be of another record.
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

// readPart reads the bytes behind offset, as many as come at a time.
func (r *reading) readPart(ctx context.Context, id uint16, offset int) (part []byte, next uint16, err error) {
	count := chunks[r.chunk]
	if offset > 0 || count != Whole {
		count = min(count, RecordLength-offset)
	}
	request := binary.LittleEndian.AppendUint16(nil, r.reservation)
	request = binary.LittleEndian.AppendUint16(request, id)
	data, err := r.log.request(ctx, getEntry, nextLength, append(request, byte(offset), byte(count))...)
	if err != nil {
		return nil, 0, err
	}
	return data[nextLength:], binary.LittleEndian.Uint16(data), nil
}
