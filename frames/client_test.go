package frames

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// dial makes a client that ends with its test.
func (r *rig) dial(t testing.TB) *Client {
	t.Helper()
	c, err := Dial(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// status returns the status of a StatusError; -1 for another error, 0 for nil.
func status(err error) ipmb.Status {
	if err == nil {
		return ipmb.StatusOK
	}
	if failed, ok := errors.AsType[*StatusError](err); ok {
		return failed.Status
	}
	return -1
}

func TestClient(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 0)
	r.addBus(t, 1)
	r.buses.Store(uint8(2), newTestBus(t, 1)) // is down
	c := r.dial(t)
	// Many more requests at a time than there are numbers, for responders that answer and that are
	// absent, and a bus that is down: each ends in its own way. Those that find no number end with
	// an error that says so.
	var all sync.WaitGroup
	for n := range 600 {
		all.Go(func() {
			index, responder, want := uint8(n%2), echoes, ipmb.StatusOK
			switch n % 10 {
			case 7:
				responder, want = absent, ipmb.StatusFailed
			case 8:
				index, want = 2, ipmb.StatusFailed
			case 9:
				index, want = 9, ipmb.StatusInvalid
			}
			f := request(responder, 0, numbered(n)...)
			got, err := c.Do(t.Context(), index, f)
			for status(err) >= ipmb.StatusBusy && want == ipmb.StatusOK {
				got, err = c.Do(t.Context(), index, f)
			}
			switch {
			case (err == nil) != (want == ipmb.StatusOK) || status(err) < 0:
				t.Errorf("request %d: %v, want status %d", n, err, want)
			case err == nil && (!bytes.Equal(got.Data, f.Data) || got.Destination != mine || got.Source != responder || got.Code != ipmi.CodeOK):
				t.Errorf("request %d: %+v", n, got)
			}
		})
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.links); n == 0 || n > maxLinks {
		t.Errorf("%d connections", n)
	}
}

// Of many requests in flight each has its own failure, at once.
func TestClientTellsFailuresApart(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addLimitedBus(t, 0, 2)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	c := r.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, 0, request(quiet, 0))
		slow <- err
	}()
	eventually(t, "the request to be sent", func() bool { return bus.InProgress() == 1 })
	for range 3 {
		if _, err := c.Do(t.Context(), 5, request(echoes, 0)); status(err) != ipmb.StatusInvalid {
			t.Errorf("no such bus: %v", err)
		}
		if _, err := c.Do(t.Context(), 0, request(echoes, 0)); status(err) != ipmb.StatusBusy {
			t.Errorf("over the limit: %v", err)
		}
	}
	cancel()
	if err := awaited(t, "the end", slow); err != context.Canceled {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.links) != 1 {
		t.Errorf("%d connections", len(c.links))
	}
}

func TestClientRefusesWhatIsNoRequest(t *testing.T) {
	c := newRig(t, Config{}).dial(t)
	long, odd, high := request(echoes, 0, make([]byte, MaxFrame)...), request(echoes, 0), request(echoes, 0)
	odd.NetFn, high.NetFn = 7, 0x40
	for want, requests := range map[ipmb.Status][]ipmb.Frame{ipmb.StatusTooLong: {long}, ipmb.StatusInvalid: {odd, high}} {
		for _, f := range requests {
			if _, err := c.Do(t.Context(), 0, f); status(err) != want {
				t.Errorf("%v, want status %d", err, want)
			}
		}
	}
}

func TestClientIsNotHeldByItsContext(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	c := r.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, 0, request(quiet, 0))
		ended <- err
	}()
	eventually(t, "the request to be sent", func() bool { return bus.InProgress() == 1 })
	cancel()
	if err := awaited(t, "the end", ended); err != context.Canceled {
		t.Error(err)
	}
	if got, err := c.Do(t.Context(), 0, request(echoes, 0, 1)); err != nil || got.Data[0] != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClientOutlivesTheDaemon(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	c := r.dial(t)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), 0, request(quiet, 0))
		ended <- err
	}()
	eventually(t, "the request to be sent", func() bool { return bus.InProgress() == 1 })
	r.stop()
	if err := awaited(t, "the end", ended); err != ErrHungUp {
		t.Error(err)
	}
	if _, err := c.Do(t.Context(), 0, request(echoes, 0)); err == nil || status(err) >= 0 {
		t.Errorf("without a daemon: %v", err)
	}
	again := newRig(t, Config{})
	again.addBus(t, 0)
	c.path = again.path
	if _, err := c.Do(t.Context(), 0, request(echoes, 0)); err != nil {
		t.Errorf("with another one: %v", err)
	}
	c.Close()
	if _, err := c.Do(t.Context(), 0, request(echoes, 0)); err != ErrClientClosed {
		t.Error(err)
	}
}

func TestDialWithoutDaemon(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("connected to nothing")
	}
}
