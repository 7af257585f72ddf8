package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	// maxAgain is how often a step is tried anew because the log has changed or
	// the controller is busy.
	maxAgain = 8
	// pause is between a step and the same step again.
	pause = 100 * time.Millisecond
	// maxErase is how long an erasure may take.
	maxErase = time.Minute
)

// Errors of what a responder says about its log.
var (
	// ErrNonsense: what it says cannot be.
	ErrNonsense = errors.New("the log makes no sense")
	// ErrRestless: the log changes faster than it can be read, or the controller
	// is busy all the time.
	ErrRestless = errors.New("the log did not hold still")
	// ErrErasing: the erasure did not end in time.
	ErrErasing = errors.New("the erasure goes on")
)

// CodeError is a completion code that ends what was to be done.
type CodeError struct {
	Command ipmi.Command
	Code    ipmi.CompletionCode
}

// Error implements error.
func (e *CodeError) Error() string {
	return fmt.Sprintf("%s: %02Xh %s", ipmi.CommandName(ipmi.NetFnStorage, e.Command),
		uint8(e.Code), e.Code.Meaning(ipmi.NetFnStorage, e.Command))
}

// Ask has a command of ipmi.NetFnStorage answered by the controller whose log it
// is. Its errors are returned as they are.
type Ask func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error)

// Log is a log that is somewhere else. It makes one request at a time.
type Log struct{ ask Ask }

// New makes a Log of a controller's.
func New(ask Ask) *Log { return &Log{ask} }

// do has a command answered; one whose controller is busy again. The data are at
// least min bytes.
func (l *Log) do(ctx context.Context, cmd ipmi.Command, min int, data ...byte) ([]byte, error) {
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
			return nil, fmt.Errorf("%w: %s is answered with %d bytes, %d are needed", ErrNonsense,
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
	if !errors.As(err, &refused) {
		return false
	}
	for _, code := range codes {
		if refused.Code == code {
			return true
		}
	}
	return false
}

// Info is what the log says of itself. The errors are a *CodeError, ErrNonsense,
// and those of asking.
func (l *Log) Info(ctx context.Context) (Info, error) {
	data, err := l.do(ctx, getInfo, 0)
	if err != nil {
		return Info{}, err
	}
	return DecodeInfo(data)
}

// reserve is a new reservation; 0 where the log knows none.
func (l *Log) reserve(ctx context.Context) (uint16, error) {
	data, err := l.do(ctx, reserve, 2)
	if isCode(err, ipmi.CodeInvalidCommand) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint16(data), nil
}

// Clear erases all records and returns how many they were, as soon as the
// controller says that it is done. A record that is added before the erasure
// begins is counted. The errors are those of Info, ErrRestless and ErrErasing.
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
	return 0, fmt.Errorf("%w: records were added before it could be erased, %d times", ErrRestless, maxAgain)
}

// What Clear SEL does, and how far it is (IPMI v2.0, section 31.9).
const (
	eraseInitiate = 0xAA
	eraseStatus   = 0x00
	progressMask  = 0x0F
	erasureDone   = 0x01
)

func (l *Log) erase(ctx context.Context, reservation uint16, action byte) (done bool, err error) {
	data := binary.LittleEndian.AppendUint16(nil, reservation)
	answer, err := l.do(ctx, clearLog, 1, append(data, 'C', 'L', 'R', action)...)
	if err != nil {
		return false, err
	}
	return answer[0]&progressMask == erasureDone, nil
}

// awaitErasure asks until the erasure is done. One that has cancelled its own
// reservation is asked for with another.
func (l *Log) awaitErasure(ctx context.Context, reservation uint16) error {
	for range maxErase / pause {
		if err := sleep(ctx); err != nil {
			return err
		}
		done, err := l.erase(ctx, reservation, eraseStatus)
		switch {
		case isCode(err, ipmi.CodeReservationCancelled):
			reservation, err = l.reserve(ctx)
			if err != nil {
				return err
			}
		case err != nil:
			return err
		case done:
			return nil
		}
	}
	return fmt.Errorf("%w after %v", ErrErasing, maxErase)
}
