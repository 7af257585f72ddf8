package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipmbd/ipmi"
)

// The commands of a log, of ipmi.NetFnStorage (IPMI v2.0, section 31).
const (
	getInfo  ipmi.Command = 0x40
	reserve  ipmi.Command = 0x42
	getEntry ipmi.Command = 0x43
	clearLog ipmi.Command = 0x47
)

const (
	// maxAgain is how often a step is repeated because the log has changed or the controller is
	// busy.
	maxAgain = 8
	// pause is the time between a step and the same step again.
	pause = 100 * time.Millisecond
	// maxErase is how long an erasure may take.
	maxErase = time.Minute
)

// Errors of logs.
var (
	// ErrMalformed: a response contradicts the standard or itself.
	ErrMalformed = errors.New("the log is malformed")
	// ErrChanged: the log changes faster than it can be read, or the controller is always busy.
	ErrChanged = errors.New("the log keeps changing")
	// ErrErasing: the erasure did not end in time.
	ErrErasing = errors.New("the erasure goes on")
)

// CodeError is a completion code that ends an operation.
type CodeError struct {
	Command ipmi.Command
	Code    ipmi.CompletionCode
}

// Error implements error.
func (e *CodeError) Error() string {
	return fmt.Sprintf("%s: %02Xh %s", ipmi.CommandName(ipmi.NetFnStorage, e.Command),
		uint8(e.Code), e.Code.Meaning(ipmi.NetFnStorage, e.Command))
}

// Ask sends a request of ipmi.NetFnStorage to a controller and returns its response. Its errors
// are returned as they are.
type Ask func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error)

// Log is the log of another controller. It makes one request at a time.
type Log struct{ ask Ask }

// New makes a Log that asks a controller with ask.
func New(ask Ask) *Log { return &Log{ask} }

// request sends a request, again while the controller is busy. The response has at least min
// bytes.
func (l *Log) request(ctx context.Context, cmd ipmi.Command, min int, data ...byte) ([]byte, error) {
	for again := 0; ; again++ {
		response, err := l.ask(ctx, cmd, data)
		switch {
		case err != nil:
			return nil, err
		case response.Code == ipmi.CodeNodeBusy && again < maxAgain:
			if err := sleep(ctx); err != nil {
				return nil, err
			}
			continue
		case response.Code != ipmi.CodeOK:
			return nil, &CodeError{cmd, response.Code}
		case len(response.Data) < min:
			return nil, fmt.Errorf("%w: the length of the response to %s is %d, less than %d", ErrMalformed,
				ipmi.CommandName(ipmi.NetFnStorage, cmd), len(response.Data), min)
		}
		return response.Data, nil
	}
}

func sleep(ctx context.Context) error {
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isCode reports whether an error is one of the completion codes.
func isCode(err error, codes ...ipmi.CompletionCode) bool {
	var refused *CodeError
	return errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}

// Info returns the log's own information. It returns a *CodeError, ErrMalformed, and the errors of
// Ask.
func (l *Log) Info(ctx context.Context) (Info, error) {
	data, err := l.request(ctx, getInfo, 0)
	if err != nil {
		return Info{}, err
	}
	return DecodeInfo(data)
}

// reserve returns a new reservation, 0 if the log does not support reservations.
func (l *Log) reserve(ctx context.Context) (uint16, error) {
	data, err := l.request(ctx, reserve, 2)
	if isCode(err, ipmi.CodeInvalidCommand) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint16(data), nil
}

// Clear erases all records and returns how many there were, when the controller says that the
// erasure is done. It counts records that are added before the erasure begins. It returns the
// errors of Info, ErrChanged and ErrErasing.
func (l *Log) Clear(ctx context.Context) (erased int, err error) {
	for range maxAgain {
		reservation, err := l.reserve(ctx)
		if err != nil {
			return 0, err
		}
		info, err := l.Info(ctx)
		if err != nil {
			return 0, err
		}
		done, err := l.erase(ctx, reservation, eraseInitiate)
		if isCode(err, ipmi.CodeReservationCancelled) {
			continue
		}
		if err == nil && !done {
			err = l.awaitErasure(ctx, reservation)
		}
		if err != nil {
			return 0, err
		}
		return int(info.Records), nil
	}
	return 0, fmt.Errorf("%w: records were added before it could be erased, %d times", ErrChanged, maxAgain)
}

// Actions of Clear SEL, and its progress (IPMI v2.0, section 31.9).
const (
	eraseInitiate = 0xAA
	eraseStatus   = 0x00
	progressMask  = 0x0F
	erasureDone   = 0x01
)

func (l *Log) erase(ctx context.Context, reservation uint16, action byte) (done bool, err error) {
	data := binary.LittleEndian.AppendUint16(nil, reservation)
	progress, err := l.request(ctx, clearLog, 1, append(data, 'C', 'L', 'R', action)...)
	if err != nil {
		return false, err
	}
	return progress[0]&progressMask == erasureDone, nil
}

// awaitErasure waits until the erasure is done. If the erasure has cancelled its own reservation,
// it makes another one.
func (l *Log) awaitErasure(ctx context.Context, reservation uint16) error {
	for range maxErase / pause {
		if err := sleep(ctx); err != nil {
			return err
		}
		done, err := l.erase(ctx, reservation, eraseStatus)
		if isCode(err, ipmi.CodeReservationCancelled) {
			reservation, err = l.reserve(ctx)
		}
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w after %v", ErrErasing, maxErase)
}
