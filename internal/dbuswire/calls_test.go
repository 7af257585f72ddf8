package dbuswire

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// One share leaves others room on a connection, and has enough of it when it is alone.
func TestSharesOfAConnection(t *testing.T) {
	var c calls
	serial := uint32(0)
	begin := func(place Place) error {
		serial++
		return c.addCall(serial, nil, place)
	}
	for range 80 {
		if err := begin(Place{Share: "bus1"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(Place{Share: "bus1"}); !errors.Is(err, ErrBusy) {
		t.Errorf("bus1 has all: %v", err)
	}
	for i := range 10 {
		if err := begin(Place{Share: fmt.Sprint("another", i)}); err != nil {
			t.Errorf("share %d: %v", i, err)
		}
	}
	var last error
	for range maxCalls {
		last = begin(Place{Share: fmt.Sprint("more", serial)})
	}
	if !errors.Is(last, ErrBusy) {
		t.Errorf("all places are taken: %v", last)
	}
	const extra = 20
	for i := range extra {
		if err := begin(Place{Extra: extra}); err != nil {
			t.Errorf("call %d over the places: %v", i, err)
		}
	}
	if err := begin(Place{Extra: extra}); !errors.Is(err, ErrBusy) {
		t.Errorf("calls over the extra places: %v", err)
	}
	for i := uint32(1); i <= serial; i++ {
		c.removeCall(i)
	}
	if len(c.pending) != 0 || len(c.shares) != 0 {
		t.Errorf("left: %v, %v", c.pending, c.shares)
	}
}

// endedCall remembers how it ended.
type endedCall struct {
	number int
	ends   *[]string
}

func (c endedCall) Replied(m *Message) {
	*c.ends = append(*c.ends, fmt.Sprint(c.number, " replied ", m.ReplySerial))
}
func (c endedCall) Lost() { *c.ends = append(*c.ends, fmt.Sprint(c.number, " lost")) }

func TestCallsEndOnceAndInOrder(t *testing.T) {
	c := newTestConn(t)
	var ends []string
	for i := range 5 {
		serial := c.NewSerial()
		if err := c.StartCall(serial, []byte("call"), endedCall{i, &ends}, Place{Share: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		c.calls.endCall(&Message{ReplySerial: 3})
	}
	c.calls.endCalls()
	if got, want := fmt.Sprint(ends), "[2 replied 3 0 lost 1 lost 3 lost 4 lost]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := c.StartCall(9, []byte("call"), endedCall{}, Place{}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("afterwards: %v", err)
	}
}

// newTestConn is a connection whose messages are read and forgotten.
func newTestConn(t testing.TB) *Conn {
	out, reader, _ := newTestOutbox(t)
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	return &Conn{out: out}
}

// A call allocates memory only for its place in the maps: nothing, when these have grown.
func TestStartCallAllocations(t *testing.T) {
	c := newTestConn(t)
	message, call := []byte("call"), repliedFunc(func(*Message) {})
	reply := new(Message)
	if n := testing.AllocsPerRun(1000, func() {
		reply.ReplySerial = c.NewSerial()
		if err := c.StartCall(reply.ReplySerial, message, call, Place{Share: "a"}); err != nil || !c.calls.endCall(reply) {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
