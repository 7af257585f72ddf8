package ipmi

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answering is a handler whose answers bear its mark.
func answering(mark CompletionCode) Handler {
	return Immediate(func(*Request) (Response, error) {
		return Response{Code: mark}, nil
	})
}

func mustRegister(t *testing.T, m *Mux, owner string, h Handler, patterns ...Pattern) *Registration {
	t.Helper()
	r, err := m.Register(owner, h, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// on returns a pattern of one command in any group.
func on(channels ChannelMask, n NetFn, cmd Command) Pattern {
	return Pattern{Channels: channels, NetFn: n, Command: cmd, Group: AnyGroup}
}

func TestMuxFindsTheHandler(t *testing.T) {
	const (
		exact CompletionCode = iota + 1
		wholeNetFn
		oneGroup
		anyGroup
		oneIANA
		byDefault
		nobody
	)
	var m Mux
	mustRegister(t, &m, "a", answering(exact), on(0b01, NetFnApp, 0x01))
	mustRegister(t, &m, "b", answering(wholeNetFn), on(AllChannels, NetFnStorage, AnyCommand), on(0b10, NetFnApp, AnyCommand))
	mustRegister(t, &m, "c", answering(oneGroup), Pattern{AllChannels, NetFnGroup, AnyCommand, 0xDC})
	mustRegister(t, &m, "d", answering(anyGroup), Pattern{0b10, NetFnOEM, 0x01, AnyGroup})
	mustRegister(t, &m, "e", answering(oneIANA), Pattern{0b01, NetFnOEM, 0x01, 0x000157})
	m.SetDefault("bus1", answering(byDefault))

	for _, tt := range []struct {
		name string
		req  Request
		want CompletionCode
	}{
		{"exact command", Request{NetFn: NetFnApp, Command: 0x01}, exact},
		{"other command", Request{NetFn: NetFnApp, Command: 0x02}, nobody},
		{"channel of the whole netFn", Request{Channel: 1, NetFn: NetFnApp, Command: 0x01}, wholeNetFn},
		{"channel of nobody", Request{Channel: 2, NetFn: NetFnApp, Command: 0x01}, nobody},
		{"any command of a netFn", Request{Channel: 15, NetFn: NetFnStorage, Command: 0x77}, wholeNetFn},
		{"command FFh", Request{NetFn: NetFnStorage, Command: 0xFF}, wholeNetFn},
		{"group", Request{NetFn: NetFnGroup, Command: 0x01, Data: []byte{0xDC}}, oneGroup},
		{"other group", Request{NetFn: NetFnGroup, Command: 0x01, Data: []byte{0x00}}, nobody},
		{"too short for its group", Request{NetFn: NetFnGroup, Command: 0x01}, nobody},
		{"IANA number", Request{NetFn: NetFnOEM, Command: 0x01, Data: []byte{0x57, 0x01, 0x00}}, oneIANA},
		{"other IANA number", Request{NetFn: NetFnOEM, Command: 0x01, Data: []byte{0x58, 0x01, 0x00}}, nobody},
		{"too short for its IANA number", Request{NetFn: NetFnOEM, Command: 0x01, Data: []byte{0x57, 0x01}}, nobody},
		{"too short, any group registered", Request{Channel: 1, NetFn: NetFnOEM, Command: 0x01, Data: []byte{0x57}}, anyGroup},
		{"default of the interface", Request{Interface: "bus1", NetFn: NetFnApp, Command: 0x02}, byDefault},
		{"registration before the default", Request{Interface: "bus1", NetFn: NetFnApp, Command: 0x01}, exact},
		{"interface without a default", Request{Interface: "bus2", NetFn: NetFnApp, Command: 0x02}, nobody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := Do(t.Context(), &m, &tt.req)
			got := resp.Code
			if errors.Is(err, ErrNoHandler) {
				got, err = nobody, nil
			}
			if err != nil || got != tt.want {
				t.Errorf("served by %d, want %d (error %v)", got, tt.want, err)
			}
		})
	}
}

func TestZeroMuxHasNoHandler(t *testing.T) {
	var m Mux
	_, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp, Command: 0x01})
	if !errors.Is(err, ErrNoHandler) || !NotServed(err) || CodeOf(err) != CodeInvalidCommand {
		t.Errorf("error %v", err)
	}
	if got := m.Registrations(); len(got) != 0 {
		t.Errorf("registrations %v", got)
	}
}

func TestMuxDefaultIsReplacedAndTakenAway(t *testing.T) {
	var m Mux
	req := &Request{Interface: "bus1", NetFn: NetFnApp, Command: 0x01}
	for _, mark := range []CompletionCode{1, 2} {
		m.SetDefault("bus1", answering(mark))
		if resp, err := Do(t.Context(), &m, req); resp.Code != mark || err != nil {
			t.Errorf("got %v, %v, want mark %d", resp, err, mark)
		}
	}
	m.SetDefault("bus1", nil)
	if _, err := Do(t.Context(), &m, req); !errors.Is(err, ErrNoHandler) {
		t.Errorf("error %v", err)
	}
}

func TestMuxRefusesOverlap(t *testing.T) {
	var m Mux
	existing := on(0b11, NetFnApp, AnyCommand)
	mustRegister(t, &m, "host", answering(1), existing)
	before := m.Registrations()

	asked := on(0b10, NetFnApp, 0x01)
	_, err := m.Register("guest", answering(2), on(AllChannels, NetFnStorage, 0x10), asked)
	var overlap *OverlapError
	if !errors.As(err, &overlap) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(&OverlapError{Owner: "host", Pattern: asked, Existing: existing}, overlap); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	const text = "app get-device-id on channel 1 overlaps app all commands on channels 0, 1, which host serves"
	if err.Error() != text {
		t.Errorf("got  %s\nwant %s", err, text)
	}
	if diff := cmp.Diff(before, m.Registrations()); diff != "" {
		t.Errorf("the refused call left something: %s", diff)
	}
	if _, err := m.Register("host", answering(1), existing); !errors.As(err, &overlap) {
		t.Errorf("the owner's own overlap: error %v", err)
	}
}

func TestMuxRefusesOverlapWithinACall(t *testing.T) {
	var m Mux
	first, second := on(0b01, NetFnApp, 0x01), on(AllChannels, NetFnApp, AnyCommand)
	_, err := m.Register("host", answering(1), first, second)
	var overlap *OverlapError
	if !errors.As(err, &overlap) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(&OverlapError{Owner: "host", Pattern: second, Existing: first}, overlap); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got := m.Registrations(); len(got) != 0 {
		t.Errorf("registrations %v", got)
	}
}

func TestMuxRefusesWhatCannotBeServed(t *testing.T) {
	var m Mux
	valid := on(AllChannels, NetFnApp, 0x01)
	var invalid *PatternError
	if _, err := m.Register("host", answering(1), valid, on(AllChannels, 0x07, 0x01)); !errors.As(err, &invalid) {
		t.Errorf("invalid pattern: error %v", err)
	}
	if _, err := m.Register("host", nil, valid); err == nil {
		t.Error("no handler: no error")
	}
	if _, err := m.Register("host", answering(1)); err == nil {
		t.Error("no pattern: no error")
	}
	if got := m.Registrations(); len(got) != 0 {
		t.Errorf("registrations %v", got)
	}
}

func TestRegistrationsAreListedInOrder(t *testing.T) {
	var m Mux
	a, b, c := on(0b01, NetFnApp, 0x01), on(0b10, NetFnApp, 0x01), on(0b01, NetFnStorage, AnyCommand)
	first := mustRegister(t, &m, "first", answering(1), a, c)
	mustRegister(t, &m, "second", answering(2), b)
	if diff := cmp.Diff([]Registered{{"first", a, false}, {"first", c, false}, {"second", b, false}}, m.Registrations()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	first.Close()
	if diff := cmp.Diff([]Registered{{"second", b, false}}, m.Registrations()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestRegistrationCloseTwice(t *testing.T) {
	var m Mux
	pattern := on(AllChannels, NetFnApp, 0x01)
	old := mustRegister(t, &m, "old", answering(1), pattern)
	old.Close()
	mustRegister(t, &m, "new", answering(2), pattern)
	old.Close() // must not take the new one's place away
	if resp, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp, Command: 0x01}); resp.Code != 2 || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestRegistrationKeepsItsOwnPatterns(t *testing.T) {
	var m Mux
	patterns := []Pattern{on(AllChannels, NetFnApp, 0x01)}
	mustRegister(t, &m, "host", answering(1), patterns...)
	patterns[0].Command = 0x02
	mustRegister(t, &m, "other", answering(2), on(AllChannels, NetFnStorage, 0x10)) // replaces the routes
	if resp, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp, Command: 0x01}); resp.Code != 1 || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestAnswerOfAClosedRegistrationIsUsed(t *testing.T) {
	var m Mux
	var r *Registration
	r = mustRegister(t, &m, "host", Immediate(func(*Request) (Response, error) {
		r.Close()
		return Response{Code: 7}, nil
	}), on(AllChannels, NetFnApp, 0x01))
	if resp, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp, Command: 0x01}); resp.Code != 7 || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestMuxPassesTheHandlersErrorOn(t *testing.T) {
	for _, tt := range sentinels {
		t.Run(tt.name, func(t *testing.T) {
			var m Mux
			m.SetDefault("", Immediate(func(*Request) (Response, error) {
				return Response{}, tt.err
			}))
			if _, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp}); !errors.Is(err, tt.err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMuxAllocatesNothing(t *testing.T) {
	var m Mux
	mustRegister(t, &m, "host", answering(1), on(AllChannels, NetFnApp, AnyCommand))
	m.SetDefault("bus1", answering(2))
	reply := ReplyFunc(func(Response, error) bool { return true })
	for _, req := range []*Request{
		{NetFn: NetFnApp, Command: 0x01},
		{Interface: "bus1", NetFn: NetFnStorage},
		{NetFn: NetFnStorage},
	} {
		if n := testing.AllocsPerRun(100, func() { Serve(&m, req, reply) }); n != 0 {
			t.Errorf("netFn %v: %v allocations", req.NetFn, n)
		}
	}
}

func TestReservedCommandsAreNobodyElses(t *testing.T) {
	var m Mux
	m.SetDefault("bus0", answering(0x55))
	reserved, err := m.Reserve("the bridge", on(0b01, NetFnApp, 0x34))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Register("a", answering(0x66), on(AllChannels, NetFnApp, AnyCommand))
	var overlap *OverlapError
	if !errors.As(err, &overlap) || overlap.Owner != "the bridge" {
		t.Errorf("registered: %v", err)
	}
	mustRegister(t, &m, "a", answering(0x66), on(0b10, NetFnApp, 0x34)) // another channel

	request := Request{Interface: "bus0", NetFn: NetFnApp, Command: 0x34}
	if response, err := Do(t.Context(), &m, &request); response.Code != 0x55 || err != nil {
		t.Errorf("got %v, %v; want the default's answer", response, err)
	}
	reserved.Close()
	mustRegister(t, &m, "b", answering(0x77), on(0b01, NetFnApp, 0x34))
	if response, err := Do(t.Context(), &m, &request); response.Code != 0x77 || err != nil {
		t.Errorf("got %v, %v; want the answer of the handler registered then", response, err)
	}
}

func TestMuxReplacesARegistration(t *testing.T) {
	var m Mux
	one, two := on(AllChannels, NetFnApp, 0x01), on(AllChannels, NetFnApp, 0x02)
	r, err := m.Reserve("bridge", one)
	if err != nil {
		t.Fatal(err)
	}
	mustRegister(t, &m, "somebody", answering(1), on(0b10, NetFnApp, 0x03))

	overlap, ok := errors.AsType[*OverlapError](second(r.Replace(one, on(AllChannels, NetFnApp, AnyCommand))))
	if !ok || overlap.Owner != "somebody" {
		t.Errorf("what somebody has: %v", overlap)
	}
	if diff := cmp.Diff([]Registered{{"bridge", one, true}, {"somebody", on(0b10, NetFnApp, 0x03), false}}, m.Registrations()); diff != "" {
		t.Errorf("after an error:\n%s", diff)
	}
	next, err := r.Replace(one, two)
	if err != nil {
		t.Fatal("what it has itself: ", err)
	}
	if _, err := m.Reserve("other", two); err == nil {
		t.Error("what it has now can be had by others")
	}
	if next, err = next.Replace(two); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Reserve("other", one); err != nil {
		t.Errorf("what it had: %v", err)
	}
	next.Close()
	if got := len(m.Registrations()); got != 2 {
		t.Errorf("%d registrations are left", got)
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestMuxTellsWhoWatches(t *testing.T) {
	var m Mux
	changed, stop := m.Watch()
	other, stopOther := m.Watch()
	defer stopOther()
	told := func(by <-chan struct{}) bool {
		select {
		case <-by:
			return true
		default:
			return false
		}
	}
	if told(changed) {
		t.Error("told of nothing")
	}
	a := Pattern{Channels: AllChannels, NetFn: NetFnApp, Command: 1, Group: AnyGroup}
	b := Pattern{Channels: AllChannels, NetFn: NetFnApp, Command: 2, Group: AnyGroup}
	first, err := m.Register("first", HandlerFunc(nobodyServes), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Reserve("second", b); err != nil {
		t.Fatal(err)
	}
	if !told(changed) || told(changed) {
		t.Error("not told once of what has not been looked at")
	}
	if diff := cmp.Diff([]Registered{{"first", a, false}, {"second", b, true}}, m.Registrations()); diff != "" {
		t.Error(diff)
	}
	if _, err := m.Register("third", HandlerFunc(nobodyServes), a); err == nil || told(changed) {
		t.Errorf("told of what is refused: %v", err)
	}
	first, err = first.Replace(Pattern{Channels: AllChannels, NetFn: NetFnApp, Command: 3, Group: AnyGroup})
	if err != nil || !told(changed) {
		t.Errorf("not told of other patterns: %v", err)
	}
	first.Close()
	if !told(changed) {
		t.Error("not told of an end")
	}
	first.Close()
	if told(changed) {
		t.Error("told of an end twice")
	}
	stop()
	if _, err := m.Register("first", HandlerFunc(nobodyServes), a); err != nil {
		t.Fatal(err)
	}
	if told(changed) || !told(other) {
		t.Error("the one who has stopped is told, or the other is not")
	}
}

func nobodyServes(_ *Request, reply Reply) { reply.Answer(Response{}, ErrNoHandler) }
