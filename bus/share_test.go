package bus

import (
	"errors"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// endless is a link on which nothing ends.
type endless struct{ Link }

func (endless) Send(*Call, *ipmb.Request) error { return nil }

// program is a client that sends until the bus has no place for it.
func program(b *Bus, pid int32, uid uint32) (sent int) {
	client := new(Client)
	if pid >= 0 {
		client.Identify(Process{PID: pid, UID: uid})
	}
	for {
		req := request(1)
		if b.Send(NewCall(client, nil), &req) != nil {
			return sent
		}
		sent++
	}
}

func TestShares(t *testing.T) {
	type come struct {
		pid  int32 // -1: not identified
		uid  uint32
		want int
	}
	for name, tt := range map[string]struct {
		limit  int
		coming []come
	}{
		"one program with many connections": {8, []come{{1, 1000, 4}, {1, 1000, 0}, {1, 1000, 0}, {2, 0, 4}}},
		"many programs of one user":         {8, []come{{1, 1000, 4}, {2, 1000, 0}, {3, 1001, 4}}},
		"programs of root":                  {8, []come{{1, 0, 4}, {2, 0, 4}, {3, 0, 0}}},
		"unidentified":                      {8, []come{{-1, 0, 4}, {-1, 0, 0}, {5, 0, 4}}},
		"one user, and the same number":     {8, []come{{1, 1000, 4}, {1, 1001, 4}}},
		"a single place":                    {1, []come{{1, 1000, 1}, {2, 0, 0}}},
		"an odd number":                     {3, []come{{1, 1000, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 0}}},
		"by default":                        {0, []come{{1, 1000, 128}, {2, 0, 128}, {3, 0, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(Config{MaxCalls: tt.limit}, endless{})
			b.Begin()
			for _, c := range tt.coming {
				if got := program(b, c.pid, c.uid); got != c.want {
					t.Errorf("process %d of user %d has %d places, want %d", c.pid, c.uid, got, c.want)
				}
			}
			req := request(1)
			for range 1000 {
				if err := b.Send(NewCall(nil, nil), &req); err != nil {
					t.Fatalf("the daemon itself: %v", err)
				}
			}
		})
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	b := New(Config{MaxCalls: 4}, endless{})
	b.Begin()
	client := new(Client)
	var calls []*Call
	send := func() error {
		c := NewCall(client, func(ipmi.Response, error) {})
		req := request(1)
		err := b.Send(c, &req)
		if err == nil {
			calls = append(calls, c)
		}
		return err
	}
	if err := errors.Join(send(), send()); err != nil {
		t.Fatal(err)
	}
	if err := send(); !errors.Is(err, ErrLimit) || !errors.Is(err, ipmb.ErrBusy) {
		t.Errorf("a third one: %v", err)
	}
	if program(b, -1, 0) != 0 {
		t.Error("another one that nobody knows gains places")
	}
	// What was sent before counts for the process, as soon as that is known.
	client.Identify(Process{PID: 1, UID: 1000})
	if err := send(); !errors.Is(err, ErrLimit) {
		t.Errorf("a third one of the process: %v", err)
	}
	if got := b.shares.processes[Process{1, 1000}]; got != 2 || program(b, 2, 1000) != 0 {
		t.Errorf("the process has %d places", got)
	}
	calls[0].End(ipmi.Response{}, nil)
	calls = calls[1:]
	if err := send(); err != nil {
		t.Error(err)
	}
	for _, c := range calls {
		c.End(ipmi.Response{}, nil)
	}
	if b.InProgress() != 0 || len(b.shares.processes) != 0 || len(b.shares.users) != 0 || len(b.shares.unknown) != 0 {
		t.Errorf("%+v", b.shares)
	}
	if got := b.Counters()["calls-over-limit"]; got != 4 {
		t.Errorf("calls-over-limit %d", got)
	}
}

// A request that is ended before anybody asks again counts where it began.
func TestIdentifiedWhileItsRequestIsOnItsWay(t *testing.T) {
	b := New(Config{MaxCalls: 4}, endless{})
	b.Begin()
	client := new(Client)
	c := NewCall(client, func(ipmi.Response, error) {})
	req := request(1)
	for _, identified := range []bool{false, true, true} {
		if err := b.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		if identified {
			client.Identify(Process{PID: 1, UID: 1000})
		}
		c.End(ipmi.Response{}, nil)
		if len(b.shares.processes)+len(b.shares.users)+len(b.shares.unknown)+b.shares.used != 0 {
			t.Errorf("%+v", b.shares)
		}
	}
}

func TestProcessOfAClient(t *testing.T) {
	if got := (*Client)(nil).owner(); got != daemon {
		t.Errorf("nobody's: %+v", got)
	}
	if got := new(Client).owner(); got != unidentified {
		t.Errorf("not identified: %+v", got)
	}
	for _, p := range []Process{{0, 0}, {1, 0}, {1<<31 - 1, 1<<32 - 2}, {4194304, 1000}} {
		c := new(Client)
		c.Identify(p)
		c.Identify(Process{9, 9})
		if got := c.owner(); got != p {
			t.Errorf("%+v, want %+v", got, p)
		}
	}
}
