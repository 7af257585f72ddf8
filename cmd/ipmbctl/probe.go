package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"ipmbd/dbusapi"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// maxProbes is how many nodes are asked at a time. The service lets a program
// have more calls in progress, and others need room too.
const maxProbes = 16

// outcome is how one address has taken the question.
type outcome struct {
	address  ipmi.Address
	response ipmi.Response
	err      error
}

// tally is what a scan has found.
type tally struct {
	answers        []outcome
	silent         []ipmi.Address // took the request and did not answer
	unacknowledged int            // nobody there
	failed         int            // not carried by the bus: it is stuck or busy
}

// add takes an outcome; one that says that the next will not be better is
// returned as an error.
func (t *tally) add(o outcome) error {
	switch {
	// C3h says of a node that somebody else has asked for us, such as the kernel.
	case o.err == nil && o.response.Code == ipmi.CodeTimeout, errors.Is(o.err, ipmb.ErrTimeout):
		t.silent = append(t.silent, o.address)
	case o.err == nil:
		t.answers = append(t.answers, o)
	case errors.Is(o.err, dbusapi.ErrUnavailable):
		t.unacknowledged++
	case errors.Is(o.err, dbusapi.ErrWriteFailure), errors.Is(o.err, ipmb.ErrBusy):
		t.failed++
	default:
		return o.err
	}
	return nil
}

// asked is how many addresses have been asked.
func (t *tally) asked() int {
	return len(t.answers) + len(t.silent) + t.unacknowledged + t.failed
}

// maxListed is how many silent addresses are worth a place in a line: a bus
// that carries requests to nobody has a hundred.
const maxListed = 8

// summary is what became of the addresses that did not answer.
func (t *tally) summary() string {
	silent := fmt.Sprintf("%d silent", len(t.silent))
	if n := len(t.silent); n > 0 && n <= maxListed {
		silent += " " + fmt.Sprint(t.silent)
	}
	return fmt.Sprintf("%d not acknowledged, %s, %d not carried by the bus", t.unacknowledged, silent, t.failed)
}

// probe asks all addresses, a few at a time, and shows how far it is.
func (a *app) probe(ctx context.Context, client *dbusapi.Client, bus dbusapi.BusInfo, addresses []ipmi.Address, policy ipmb.RetryPolicy) (tally, error) {
	ask := func(ctx context.Context, address ipmi.Address) outcome {
		response, err := client.Send(ctx, bus.Name, ipmb.Request{
			Responder: address, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID,
			RetryPolicy: policy, FailFast: true,
		})
		return outcome{address, response, err}
	}
	progress := a.newProgress()
	defer progress.clear()
	var found tally
	err := each(ctx, addresses, ask, func(o outcome) error {
		err := found.add(o)
		progress.show("%s: asked %d of %d addresses, %d answer", bus.Name, found.asked(), len(addresses), len(found.answers))
		return err
	})
	slices.SortFunc(found.answers, func(a, b outcome) int { return cmp.Compare(a.address, b.address) })
	slices.Sort(found.silent)
	return found, err
}

// each asks all addresses, maxProbes at a time, and hands the outcomes to take
// as they come, until that returns an error.
func each(ctx context.Context, addresses []ipmi.Address, ask func(context.Context, ipmi.Address) outcome, take func(outcome) error) error {
	ctx, cancel := context.WithCancel(ctx)
	todo := make(chan ipmi.Address)
	outcomes := make(chan outcome)
	var workers sync.WaitGroup
	for range min(maxProbes, len(addresses)) {
		workers.Go(func() {
			for address := range todo {
				outcomes <- ask(ctx, address)
			}
		})
	}
	workers.Go(func() {
		defer close(todo)
		for _, address := range addresses {
			select {
			case todo <- address:
			case <-ctx.Done():
				return
			}
		}
	})
	go func() {
		workers.Wait()
		close(outcomes)
	}()
	defer cancel()
	var failure error
	for o := range outcomes {
		if failure != nil {
			continue
		}
		if failure = take(o); failure != nil {
			cancel()
		}
	}
	if failure == nil {
		failure = ctx.Err()
	}
	return failure
}
