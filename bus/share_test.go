package bus

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// endless is a link on which nothing ends.
type endless struct{ Link }

func (endless) Send(*Call, *ipmb.Request) error { return nil }

func clientOf(p Process) *Client {
	client := new(Client)
	client.Identify(p)
	return client
}

// program is a client that sends until the bus has no place for it.
func program(b *Bus, pid int32, uid uint32) (sent int) {
	client := clientOf(Process{PID: pid, UID: uid})
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
		pid  int32
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
		"programs that cannot be found":     {8, []come{{Unknown.PID, Unknown.UID, 4}, {Unknown.PID, Unknown.UID, 0}, {5, 0, 4}}},
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
	client.Identify(Process{PID: 1, UID: 1000})
	if err := send(); !errors.Is(err, ErrLimit) || !errors.Is(err, ipmb.ErrBusy) {
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
	if got := b.refused; got != 2 {
		t.Errorf("refused-over-limit %d", got)
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
		if len(b.shares.processes)+len(b.shares.users)+len(b.shares.unknown)+b.shares.Used() != 0 {
			t.Errorf("%+v", b.shares)
		}
	}
}

// No program gains by new connections: before a connection is identified, its requests have the
// places that would be left if it belonged to the program that has most; further requests wait.
func TestNewConnectionsGainNothing(t *testing.T) {
	const limit, half = 16, 8
	for _, begun := range []bool{true, false} {
		link := new(counting)
		b := New(Config{MaxCalls: limit}, link)
		if begun {
			b.Begin()
		}
		hog := Process{PID: 1, UID: 1000}
		refused := 0
		connect := func() *Client {
			client := new(Client)
			for range 3 {
				req := request(1)
				if err := b.Send(NewCall(client, func(ipmi.Response, error) { refused++ }), &req); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.StartBroadcast(client, func(error) { refused++ }, 0x30, 0, 1, nil); err != nil {
				t.Fatal(err)
			}
			return client
		}
		var unidentified []*Client
		for range 10 {
			unidentified = append(unidentified, connect())
			if len(unidentified)%3 == 0 {
				for _, client := range unidentified {
					client.Identify(hog)
				}
				unidentified = nil
			}
		}
		other := connect() // which has to wait until it is known to be another's
		if n := b.InProgress(); n != half {
			t.Errorf("the program has %d places", n)
		}
		other.Identify(Process{PID: 2, UID: 0})
		if n := b.InProgress(); n != half+4 {
			t.Errorf("there are %d places taken, with those of another program", n)
		}
		for _, client := range unidentified {
			client.Identify(hog)
		}
		b.Begin()
		if n := b.InProgress(); n != half+4 || link.sent != n || refused != 40-half || len(b.unsure) > 0 {
			t.Errorf("%d places, %d were sent and %d refused, %d wait", n, link.sent, refused, len(b.unsure))
		}
	}
}

// counting is a link on which nothing ends.
type counting struct {
	Link
	sent int
}

func (l *counting) Send(*Call, *ipmb.Request) error { l.sent++; return nil }

func (l *counting) StartBroadcast(func(error), ipmi.NetFn, ipmi.LUN, ipmi.Command, []byte) error {
	l.sent++
	return nil
}

// Requests that wait until their client is identified keep their order. They can be
// cancelled, are refused by a bus that leaves, and are bounded.
func TestRequestsThatWaitForIdentify(t *testing.T) {
	link := new(recorder)
	b := New(Config{MaxCalls: 12}, link)
	b.Begin()
	hold := endless{}
	b.link = hold
	if n := program(b, 1, 0); n != 6 {
		t.Fatalf("%d places", n)
	}
	b.link = link
	var ends []error
	client := new(Client)
	var calls []*Call
	send := func(n int) error {
		c := NewCall(client, func(_ ipmi.Response, err error) { ends = append(ends, err) })
		calls = append(calls, c)
		req := request(n)
		return b.Send(c, &req)
	}
	for n := range 6 {
		if err := send(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := send(6); !errors.Is(err, ErrLimit) {
		t.Errorf("more than may wait: %v", err)
	}
	if err := b.Send(NewCall(client, nil), new(ipmb.Request)); err == nil {
		t.Error("what can never be sent waits")
	}
	calls[2].Cancel()
	if len(ends) != 1 || !errors.Is(ends[0], context.Canceled) || len(link.sent) > 0 {
		t.Errorf("%v, sent % X", ends, link.sent)
	}
	client.Identify(Process{PID: 2, UID: 1000})
	if err := send(7); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(link.sent, []byte{0, 1, 3, 4, 5, 7}) || b.InProgress() != 6 {
		t.Errorf("sent % X", link.sent)
	}
	client, ends = new(Client), nil
	if err := send(8); err != nil {
		t.Fatal(err)
	}
	b.Leave()
	client.Identify(Process{PID: 3, UID: 1000})
	if len(ends) != 1 || !errors.Is(ends[0], ErrRemoved) || b.InProgress() != 6 {
		t.Errorf("of a bus that leaves: %v", ends)
	}
}

func TestProcessOfAClient(t *testing.T) {
	if got := (*Client)(nil).owner(); got != daemon {
		t.Errorf("nobody's: %+v", got)
	}
	if got := new(Client).owner(); got != unidentified {
		t.Errorf("not identified: %+v", got)
	}
	for _, p := range []Process{{0, 0}, {1, 0}, {1<<31 - 2, 1<<32 - 2}, Unknown, {4194304, 1000}} {
		c := new(Client)
		c.Identify(p)
		c.Identify(Process{9, 9})
		if got := c.owner(); got != p {
			t.Errorf("%+v, want %+v", got, p)
		}
	}
}

// A call that was refused when its client was identified is as any other from then on.
func TestRefusedWhenIdentified(t *testing.T) {
	w := newWorld(t, Config{MaxCalls: 2})
	defer w.run(t)()
	w.Begin()
	silent := request(1)
	silent.Responder = quiet
	hog := Process{PID: 1, UID: 1000}
	first := NewCall(clientOf(hog), func(ipmi.Response, error) {})
	if err := w.Send(first, &silent); err != nil {
		t.Fatal(err)
	}
	late := new(Client)
	var ends []error
	c := NewCall(late, func(_ ipmi.Response, err error) { ends = append(ends, err) })
	if err := w.Send(c, &silent); err != nil {
		t.Fatal(err)
	}
	late.Identify(hog)
	if len(ends) != 1 || !errors.Is(ends[0], ErrLimit) {
		t.Fatalf("ended: %v", ends)
	}
	c.SetClient(clientOf(Process{PID: 2, UID: 1001}))
	if err := w.Send(c, &silent); err != nil {
		t.Fatal(err)
	}
	c.Cancel()
	first.Cancel()
	if len(ends) != 2 || w.InProgress() != 0 {
		t.Errorf("ended: %v, %d in progress", ends, w.InProgress())
	}
	if n := w.engine.Statistics()["calls-cancelled"]; n != 2 {
		t.Errorf("the engine has cancelled %d calls", n)
	}
}
