package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// A call may take long: a request waits for its responder. So a call that takes longer than
// askAfter is not ended by a limit of its own. Instead the message bus and the called service are
// asked whether they answer at all.
const (
	// askAfter is how long a call takes before the others are asked, and the time between two
	// questions.
	askAfter = time.Second
	// answerTime is how long an answer to such a question may take. Both times together are less
	// than 3 s.
	answerTime = 1500 * time.Millisecond
	// stopTime is how long a service that has given up its name has for the calls in progress.
	stopTime = 2 * time.Second
	// busTime is how long the message bus may take for a connection, or for a call to itself.
	busTime = askAfter + answerTime
)

// askBus does something that only the message bus must answer. If it does not, the error is
// ErrBusSilent.
func askBus(ctx context.Context, do func(ctx context.Context) error) error {
	return within(ctx, busTime, ErrBusSilent, do)
}

// within does something in a limited time. When the time is over the error is silent.
func within(ctx context.Context, limit time.Duration, silent error, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return silent
	}
	return err
}

// ask calls a method and waits for its results, as long as the service and the message bus answer
// other calls. The errors are those of Conn.Call, ErrBusSilent, ErrSilent, ErrNotStarted and
// ErrLeft. seen says whether the service has been on the message bus: then it has stopped when its
// name has no owner, and is not being started.
func ask(
	ctx context.Context, conn *dbuswire.Conn, seen *atomic.Bool, m dbuswire.Method, args ...any,
) ([]any, error) {
	calling, end := context.WithCancelCause(ctx)
	defer end(nil)
	asked := make(chan struct{})
	timer := time.AfterFunc(askAfter, func() {
		defer close(asked)
		end(askUntilSilent(calling, conn, seen, m.Destination))
	})
	results, err := conn.Call(calling, m, args...)
	if !timer.Stop() {
		end(nil)
		<-asked
	}
	if silent := context.Cause(calling); err != nil && silent != nil && ctx.Err() == nil && err == calling.Err() {
		return nil, silent
	}
	if err == nil {
		seen.Store(true)
	}
	return results, err
}

// askUntilSilent asks the message bus and the service until one of them does not answer. It
// returns nil when ctx ends before.
func askUntilSilent(ctx context.Context, conn *dbuswire.Conn, seen *atomic.Bool, service string) error {
	again := time.NewTicker(askAfter)
	defer again.Stop()
	for ctx.Err() == nil {
		var owner string
		err := within(ctx, answerTime, ErrBusSilent, func(ctx context.Context) (err error) {
			owner, err = conn.OwnerOf(ctx, service)
			return err
		})
		switch {
		case errors.Is(err, ErrBusSilent):
			return err
		case errors.As(err, new(dbus.Error)): // No program has the name: not yet, or no longer.
			limit, late := answerTime, fmt.Errorf(
				"%w: the message bus has been waiting for it for %v", ErrNotStarted, askAfter+answerTime)
			if seen.Load() {
				limit, late = stopTime, ErrLeft
			}
			if err := awaitOwner(ctx, conn, service, limit, late); err != nil {
				return err
			}
			continue
		case err == nil:
			seen.Store(true)
			if err := askService(ctx, conn, owner); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
	return nil
}

// askService reads a property, which ipmbd answers at once at any time. A Peer.Ping would not do:
// many D-Bus libraries answer it for a program that hangs. An error is an answer of ipmbd too,
// unless it shows that the program is not ipmbd.
func askService(ctx context.Context, conn *dbuswire.Conn, owner string) error {
	read := dbuswire.Method{
		Destination: owner, Path: xml.BasePath, Interface: xml.PropertiesInterface, Member: "Get",
	}
	err := within(ctx, answerTime, ErrSilent, func(ctx context.Context) error {
		_, err := conn.Call(ctx, read, xml.RouterInterface, "Handlers")
		return err
	})
	switch {
	case errors.Is(err, ErrSilent):
		return err
	case errors.Is(serviceError(err), ErrOtherService):
		return ErrOtherService
	}
	return nil
}

// awaitOwner waits until a program has the name. When the time is over the error is late.
func awaitOwner(ctx context.Context, conn *dbuswire.Conn, service string, limit time.Duration, late error) error {
	const look = 100 * time.Millisecond
	again := time.NewTicker(look)
	defer again.Stop()
	return within(ctx, limit, late, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-again.C:
			}
			if _, err := conn.OwnerOf(ctx, service); err == nil {
				return nil
			}
		}
	})
}
