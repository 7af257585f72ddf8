package frames

import (
	"net"
	"testing"

	"ipmbd/bus"
)

// unconnected is a client that has sent nothing.
func unconnected(pid int32, uid uint32) *peer {
	return &peer{process: bus.Process{PID: pid, UID: uid}, conn: new(net.UnixConn)}
}

// come has a program connect until there is no place for it.
func come(s *Server, pid int32, uid uint32, busy bool) (peers []*peer) {
	for {
		p := unconnected(pid, uid)
		if busy {
			p.owed = 1
		}
		if s.admit(p) != nil {
			return peers
		}
		peers = append(peers, p)
		s.counts.Count(requests) // so that the next one comes later
	}
}

// Idle clients, of any number of programs and users, keep no other client out.
func TestPlaces(t *testing.T) {
	s := NewServer(Config{MaxClients: 16, MaxPerProcess: 4})
	for i, step := range []struct {
		pid  int32
		uid  uint32
		busy bool
		want int // how many it finds places for
	}{
		{1, 1000, false, 4},
		{2, 1000, false, 4}, // half
		{3, 1000, false, 3}, // places of the other two, until they have no more
		{4, 1001, false, 4},
		{5, 1001, false, 4},
		{6, 1002, true, 4},  // of the users that have 8 each
		{7, 1003, true, 4},  // of the users that have 6 each
		{8, 1004, false, 3}, // of 1000 and 1001
		{9, 0, false, 4},    // of any idle client
		{10, 0, false, 4},   // idle ones of root itself, which has most
		{11, 0, true, 4},    // the same
	} {
		if got := len(come(s, step.pid, step.uid, step.busy)); got != step.want {
			t.Errorf("%d: process %d of user %d finds %d places, want %d", i, step.pid, step.uid, got, step.want)
		}
		if n := len(s.peers); n > 16 {
			t.Fatalf("%d clients", n)
		}
	}
}

func TestBusyClientsKeepTheirPlaces(t *testing.T) {
	s := NewServer(Config{MaxClients: 8, MaxPerProcess: 4})
	first := come(s, 1, 1000, true)
	others := append(come(s, 2, 1001, false), first...)
	if len(others) != 8 || len(come(s, 3, 1001, false)) != 2 || len(come(s, 4, 1000, true)) != 0 {
		t.Errorf("%d clients", len(others))
	}
	for _, p := range first {
		if p.replaced.Load() {
			t.Error("a busy client has lost its place")
		}
	}
	if len(come(s, 5, 0, false)) != 4 || len(come(s, 6, 0, false)) != 4 {
		t.Error("root has not got in")
	}
}

// The client that has been idle for longest loses its place, and the server reports that.
func TestLongestIdleClientIsReplaced(t *testing.T) {
	s := NewServer(Config{MaxClients: 4, MaxPerProcess: 4})
	idle := come(s, 1, 0, false)
	idle[0].lastUsed.Store(100)
	if s.admit(unconnected(2, 1000)) != nil {
		t.Fatal("no place")
	}
	for i, p := range idle {
		if p.replaced.Load() != (i == 1) || p.gone != (i == 1) {
			t.Errorf("%d: replaced %v", i, p.replaced.Load())
		}
	}
}

// A client whose place another program needs is disconnected.
func TestReplacedClientIsHungUpOn(t *testing.T) {
	r := newRig(t, Config{MaxClients: 1})
	bus := r.addBus(t, 0)
	c := r.connect(t)
	c.send(t, packet(0, request(echoes, 1)))
	c.receive(t)
	eventually(t, "the client to be idle", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for p := range r.peers {
			return p.isIdle()
		}
		return false
	})
	if err := r.admit(unconnected(7, 12345)); err != nil {
		t.Fatal(err)
	}
	if got := c.receive(t); got != nil {
		t.Errorf("got % X", got)
	}
	if h := awaited(t, "the report", r.hungUp); h.why != ErrReplaced {
		t.Errorf("hung up on %+v", h)
	}
	if got := r.Statistics()["frame-clients-replaced"]; got != 1 || bus.InProgress() != 0 {
		t.Errorf("frame-clients-replaced %d", got)
	}
}
