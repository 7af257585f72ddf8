package openipmi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// driver is an OpenIPMI device in the hands of a test.
type driver struct {
	incoming chan message
	over     chan struct{} // the device has gone
	closed   chan struct{}
	once     sync.Once
	answer   func(r ipmb.Request) (ipmi.Response, error)
	direct   bool
	own      ipmi.Address

	mu         sync.Mutex
	asked      []ipmb.Request
	responses  []driverResponse
	refuse     error // of responses
	registered map[ipmi.Commands]bool
	others     map[ipmi.Commands]bool // of another program
	events     []bool
}

type driverResponse struct {
	to       ipmi.Request
	response []byte
}

func newDriver() *driver {
	return &driver{
		incoming: make(chan message, 1000), over: make(chan struct{}), closed: make(chan struct{}), own: 0x20,
		registered: map[ipmi.Commands]bool{}, others: map[ipmi.Commands]bool{},
	}
}

func (d *driver) Send(c *call) error {
	d.mu.Lock()
	d.asked = append(d.asked, c.request)
	d.mu.Unlock()
	response := ipmi.Response{Data: []byte{1}}
	var err error
	if d.answer != nil {
		response, err = d.answer(c.request)
	}
	c.done(response, err)
	return nil
}

func (d *driver) Cancel(*bus.Call) {}

func (d *driver) Receive() (ipmi.Request, []byte, error) {
	select {
	case m := <-d.incoming:
		return m.Request, m.event, nil
	case <-d.over:
		return ipmi.Request{}, nil, io.EOF
	case <-d.closed:
		return ipmi.Request{}, nil, os.ErrClosed
	}
}

func (d *driver) Respond(to *ipmi.Request, response []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	d.responses = append(d.responses, driverResponse{*to, bytes.Clone(response)})
	return nil
}

func (d *driver) Register(k ipmi.Commands, on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.others[k]:
		return unix.EBUSY
	case !on && !d.registered[k]:
		return unix.ENOENT
	case on:
		d.registered[k] = true
	default:
		delete(d.registered, k)
	}
	return nil
}

func (d *driver) SetEvents(on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, on)
	return nil
}

// toldOfEvents is whether events were wanted, in order.
func (d *driver) toldOfEvents() []bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

func (d *driver) Address() (ipmi.Address, error) { return d.own, nil }

func (d *driver) SetAddress(a ipmi.Address) error { d.own = a; return nil }

func (d *driver) Direct() bool { return d.direct }

func (d *driver) MaxData() int { return 262 }

func (d *driver) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// asks is a request from a node.
func (d *driver) asks(from ipmi.Address, seq uint8, cmd ipmi.Command, data ...byte) {
	d.incoming <- message{Request: ipmi.Request{Requester: from, Sequence: seq, NetFn: 0x30, Command: cmd, Data: data}}
}

// answered returns the answers since its last call, in short.
func (d *driver) answered() (answers []string) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.responses {
		answers = append(answers, fmt.Sprintf("%v %d %02X: % X", r.to.Requester, r.to.Sequence, uint8(r.to.Command), r.response))
	}
	d.responses = nil
	return answers
}

func (d *driver) commands() map[ipmi.Commands]bool {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.registered)
}

// lab is a bus on OpenIPMI devices.
type lab struct {
	bus     *bus.Bus
	mux     ipmi.Mux
	config  Config
	changed chan struct{} // of the path
	lost    int           // events

	mu      sync.Mutex
	devices []*driver // that are there, the last one now; nil for none
	states  []bus.State
}

// Wait and Close implement bus.Watch.
func (l *lab) Wait(ctx context.Context) error {
	select {
	case <-l.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lab) Close() error { return nil }

// run runs the bus until stop.
func (l *lab) run(t *testing.T) (stop func()) {
	t.Helper()
	c := &l.config
	c.Path, c.Name, c.Mux = "/dev/ipmi0", "ipmi0", &l.mux
	c.Index, c.Handler = uint8(c.Engine.Host<<2)|2, "none"
	c.Engine.Interface, c.Engine.Channel = c.Name, c.Channel
	c.open = func(counts counters.Set[counter]) (device, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := len(l.devices); n > 0 && l.devices[n-1] != nil {
			counts.Add(callsStarted, 2)
			return l.devices[n-1], nil
		}
		return nil, &fs.PathError{Op: "open", Path: c.Path, Err: fs.ErrNotExist}
	}
	l.changed = make(chan struct{}, 1)
	c.look = func() func() (bus.Watch, error) { return func() (bus.Watch, error) { return l, nil } }
	if c.Engine.Handler == nil {
		c.Engine.Handler = &l.mux
	}
	if c.Report == nil {
		c.Report = func(context.Context, ipmi.Event) error { return nil }
	}
	c.Trouble = func(_ string, lost int, _ error) { l.lost += lost }
	c.StateChanged = func(state bus.State, _ string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.states = append(l.states, state)
	}
	l.bus = New(*c)
	ctx, cancel := context.WithCancel(t.Context())
	l.bus.Open(ctx)
	ended := make(chan struct{})
	go func() { l.bus.Run(ctx); close(ended) }()
	<-l.bus.Begun()
	synctest.Wait()
	return func() { cancel(); <-ended }
}

// has makes a device come, or none.
func (l *lab) has(d *driver) {
	l.mu.Lock()
	l.devices = append(l.devices, d)
	l.mu.Unlock()
	if l.bus != nil {
		l.changed <- struct{}{}
		synctest.Wait()
	}
}

func (l *lab) state(t *testing.T, want bus.State, reason string) {
	t.Helper()
	synctest.Wait()
	if p := l.bus.Properties(); p.State != want || !strings.Contains(p.Reason, reason) {
		t.Errorf("%s: %q, want %s: %q", p.State, p.Reason, want, reason)
	}
}

func TestDeviceGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{config: Config{Commands: []ipmi.Commands{{NetFn: 0x30, Command: 1}}}}
		stop := l.run(t)
		defer stop()
		l.state(t, bus.Down, "/dev/ipmi0")
		if _, err := l.bus.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}); !errors.Is(err, ipmb.ErrClosed) {
			t.Error(err)
		}
		for round := range uint64(3) {
			time.Sleep(time.Minute) // The back-off is at its longest.
			d := newDriver()
			l.has(d)
			l.state(t, bus.Up, "")
			if len(d.commands()) != 1 || len(d.toldOfEvents()) != 1 {
				t.Errorf("registered %v, events %v", d.registered, d.toldOfEvents())
			}
			if _, err := l.bus.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp}); err != nil {
				t.Error(err)
			}
			if got := l.bus.Statistics()["calls-started"]; got != 2*(round+1) {
				t.Errorf("%d calls counted in round %d", got, round)
			}
			l.mu.Lock()
			l.devices = append(l.devices, nil)
			l.mu.Unlock()
			close(d.over)
			l.state(t, bus.Down, "/dev/ipmi0")
			<-d.closed
		}
		want := []bus.State{bus.Down, bus.Up, bus.Down, bus.Up, bus.Down, bus.Up, bus.Down}
		if diff := cmp.Diff(want, slices.Compact(l.states)); diff != "" {
			t.Error(diff)
		}
	})
}

// A request that came before its device went away is answered on the device that comes back: late,
// and again when the requester repeats it.
func TestRequestsOutliveTheirDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late ipmi.Reply
		handler := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
			if late == nil {
				late = reply
				return
			}
			t.Error("a repeat was served anew")
		})
		first, second := newDriver(), newDriver()
		l := &lab{devices: []*driver{first}, config: Config{Engine: ipmb.Config{Handler: handler}}}
		defer l.run(t)()
		first.asks(0x82, 1, 1, 0xAA)
		synctest.Wait()
		l.has(second)
		close(first.over)
		l.state(t, bus.Up, "")
		late.Answer(ipmi.Response{Data: []byte{7}}, nil)
		if diff := cmp.Diff([]string{"82h 1 01: 00 07"}, second.answered()); diff != "" {
			t.Errorf("late: %s", diff)
		}
		second.asks(0x82, 1, 1, 0xAA)
		if diff := cmp.Diff([]string{"82h 1 01: 00 07"}, second.answered()); diff != "" {
			t.Errorf("repeated: %s", diff)
		}
	})
}

func TestDeviceThatIsNeverRunIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}}
		l.run(t)()
		<-d.closed
	})
}

func TestRequestsGoWhereTheyShould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}}
		defer l.run(t)()
		own := ipmb.Request{NetFn: 6, Command: 1, RetryPolicy: ipmb.RetryPolicy{Tries: 3, Timeout: 2 * time.Second}}
		ownFast := own
		ownFast.FailFast = true
		node := own
		node.Responder = 0x82
		once := node
		once.FailFast, once.RetryPolicy.Tries = true, 1
		all := node
		all.GeneralCall, all.NoWait = true, true
		quick := node
		quick.RetryPolicy = ipmb.RetryPolicy{Tries: 5, Timeout: 100 * time.Millisecond}
		for _, c := range []struct {
			request ipmb.Request
			want    ipmb.Request
		}{
			{ipmb.Request{NetFn: 6, Command: 1}, own},
			{ipmb.Request{NetFn: 6, Command: 1, Responder: 0x20}, own},
			{ipmb.Request{NetFn: 6, Command: 1, FailFast: true}, ownFast},
			{ipmb.Request{NetFn: 6, Command: 1, Responder: 0x82}, node},
			{ipmb.Request{NetFn: 6, Command: 1, Responder: 0x82, FailFast: true}, once},
			{ipmb.Request{NetFn: 6, Command: 1, Responder: 0x82, GeneralCall: true, NoWait: true}, all},
			{ipmb.Request{NetFn: 6, Command: 1, Responder: 0x82, RetryPolicy: ipmb.RetryPolicy{Tries: 5, Timeout: 100 * time.Millisecond}}, quick},
		} {
			if _, err := l.bus.Do(t.Context(), c.request); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, d.asked[len(d.asked)-1]); diff != "" {
				t.Error(diff)
			}
		}
		for _, c := range []struct {
			request ipmb.Request
			want    error
		}{
			{ipmb.Request{NetFn: 7}, ipmb.ErrInvalid},
			{ipmb.Request{NetFn: 6, Responder: 0x83}, ipmb.ErrInvalid},
			{ipmb.Request{NetFn: 6, Command: 2, GeneralCall: true}, ipmb.ErrInvalid},
			{ipmb.Request{NetFn: 6, Responder: 0x82, Data: make([]byte, 263)}, ipmb.ErrTooLong},
		} {
			before := len(d.asked)
			if _, err := l.bus.Do(t.Context(), c.request); !errors.Is(err, c.want) || len(d.asked) != before {
				t.Errorf("%+v: %v", c.request, err)
			}
		}
		l.bus.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1})
		if p := l.bus.Properties().Policy; p != (ipmb.RetryPolicy{Tries: 1, Timeout: 2 * time.Second}) {
			t.Errorf("policy %+v", p)
		}
	})
}

// TestErrors: an error of the device becomes an error of a bus, and so does an operation that the
// device does not support.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}}
		defer l.run(t)()
		for _, row := range busErrors {
			d.answer = func(ipmb.Request) (ipmi.Response, error) {
				return ipmi.Response{}, &fs.PathError{Op: "send", Path: "/dev/ipmi0", Err: row.err}
			}
			if _, err := l.bus.Do(t.Context(), ipmb.Request{NetFn: 6}); !errors.Is(err, row.is) || !errors.Is(err, row.err) {
				t.Errorf("%v: %v, want %v", row.err, err, row.is)
			}
		}
		d.answer = func(ipmb.Request) (ipmi.Response, error) { return ipmi.Response{}, context.Canceled }
		if _, err := l.bus.Do(t.Context(), ipmb.Request{NetFn: 6}); err != context.Canceled {
			t.Error(err)
		}
		for what, c := range map[string]struct{ got, want error }{
			"Broadcast":         {l.bus.StartBroadcast(nil, nil, 6, 0, 1, nil), ipmb.ErrUnsupported},
			"Bind":              {l.bus.Bind(t.Context()), bus.ErrFixed},
			"Unbind":            {l.bus.Unbind(t.Context()), bus.ErrFixed},
			"SetIgnoreNACK":     {l.bus.SetIgnoreNACK(true), ipmb.ErrUnsupported},
			"SetVerifyChecksum": {l.bus.SetVerifyChecksum(true), ipmb.ErrUnsupported},
			"an odd address":    {l.bus.SetOwnAddress(t.Context(), 0x83), ipmb.ErrInvalid},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %v, want %v", what, c.got, c.want)
			}
		}
		if err := l.bus.SetOwnAddress(t.Context(), 0x84); err != nil || d.own != 0x84 || l.bus.Properties().OwnAddress != 0x84 {
			t.Errorf("%v, %v, %v", err, d.own, l.bus.Properties().OwnAddress)
		}
		d.direct = true
		if err := l.bus.SetOwnAddress(t.Context(), 0x86); !errors.Is(err, bus.ErrFixed) {
			t.Error(err)
		}
	})
}

func TestCommandsFollowTheHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}, config: Config{Config: bus.Config{Channel: 7}, Commands: []ipmi.Commands{{NetFn: 0x30, Command: 1}}}}
		pattern := func(netFn ipmi.NetFn, cmd ipmi.Command, channels ipmi.ChannelMask) ipmi.Pattern {
			return ipmi.Pattern{Channels: channels, NetFn: netFn, Command: cmd, Group: ipmi.AnyGroup}
		}
		register := func(p ...ipmi.Pattern) *ipmi.Registration {
			r, err := l.mux.Register("somebody", noBody, p...)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		register(pattern(0x30, 2, ipmi.AllChannels))
		if _, err := l.mux.Reserve("the bridge", pattern(6, 0x34, ipmi.AllChannels)); err != nil {
			t.Fatal(err)
		}
		stop := l.run(t)
		defer stop()
		always := map[ipmi.Commands]bool{{NetFn: 0x30, Command: 1}: true, {NetFn: 0x30, Command: 2}: true}
		if diff := cmp.Diff(always, d.commands()); diff != "" {
			t.Error(diff)
		}
		more := register(pattern(0x32, 1, 1<<7), pattern(0x32, 2, 1), pattern(0x30, 1, ipmi.AllChannels), pattern(0x34, ipmi.AnyCommand, 1<<7))
		got := d.commands()
		if len(got) != 2+1+256 || !got[ipmi.Commands{NetFn: 0x32, Command: 1}] || !got[ipmi.Commands{NetFn: 0x34, Command: 0xFF}] {
			t.Errorf("%d are registered", len(got))
		}
		more.Close()
		if diff := cmp.Diff(always, d.commands()); diff != "" {
			t.Error(diff)
		}
	})
}

var noBody = ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, nil })

func TestCommandsOfAnotherProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}, config: Config{Commands: []ipmi.Commands{{NetFn: 6, Command: 1}, {NetFn: 0x30, Command: 2}}}}
		d.others[ipmi.Commands{NetFn: 6, Command: 1}] = true
		defer l.run(t)()
		l.state(t, bus.Degraded, "another program has app get-device-id")
		if len(d.commands()) != 1 {
			t.Errorf("registered %v", d.registered)
		}
		d.mu.Lock()
		clear(d.others)
		d.mu.Unlock()
		time.Sleep(bus.LastRetry)
		l.state(t, bus.Up, "")
		if len(d.commands()) != 2 {
			t.Errorf("registered %v", d.registered)
		}
	})
	if got := someOf([]ipmi.Commands{{NetFn: 0x30, Command: 5}, {NetFn: 0x30, Command: 1}, {NetFn: 0x30, Command: 2}, {NetFn: 0x30, Command: 3}, {NetFn: 0x30, Command: 4}}); got != "30h 01h, 30h 02h, 30h 03h, 2 more" {
		t.Error(got)
	}
}

// TestRequestsAreAnsweredOnce: with any behaviour of the handler, for every requester.
func TestRequestsAreAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		runs := 0
		var last ipmi.Request
		l := &lab{devices: []*driver{d}, config: Config{Engine: ipmb.Config{Handler: ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
			runs++
			last = *req
			switch req.Command {
			case 2:
				reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
			case 3:
				time.AfterFunc(10*time.Second, func() { reply.Answer(ipmi.Response{}, nil) })
			case 4:
				reply.Answer(ipmi.Response{Data: make([]byte, 262)}, nil)
			default:
				reply.Answer(ipmi.Response{Data: []byte{byte(runs)}}, nil)
			}
		})}}}
		defer l.run(t)()
		expect := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, d.answered()); diff != "" {
				t.Error(diff)
			}
		}
		for range 3 {
			d.asks(0x82, 1, 1, 0xAA)
			expect("82h 1 01: 00 01")
		}
		if runs != 1 || last.Interface != "ipmi0" || last.Channel != 0 || last.Requester != 0x82 {
			t.Errorf("the handler ran %d times, %+v", runs, last)
		}
		d.asks(0x20, 2, 1) // The controller asks as well.
		expect("20h 2 01: 00 02")
		d.asks(0x82, 3, 2)
		expect("82h 3 02: C1")
		d.asks(0x82, 4, 4)
		expect("82h 4 04: CE")
		d.asks(0x82, 5, 3)
		d.asks(0x82, 5, 3)
		expect()
		time.Sleep(5 * time.Second)
		expect("82h 5 03: C3")
		time.Sleep(10 * time.Second)
		expect()
		if got := l.bus.Statistics()["handler-answers-late"]; got != 1 {
			t.Errorf("%d late answers", got)
		}
		d.refuse = unix.EBUSY
		d.asks(0x82, 6, 1)
		expect()
		time.Sleep(time.Second)
		l.state(t, bus.Up, "")
	})
}

func TestFloodOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}, config: Config{Engine: ipmb.Config{Handler: noBody}}}
		defer l.run(t)()
		asked := 0
		for i := range 1000 {
			d.asks(ipmi.Address(0x30+2*(i%8)), uint8(i/8)&0x3F, ipmi.Command(i>>9), byte(i))
			if asked++; asked%50 == 0 {
				synctest.Wait()
			}
		}
		if got := len(d.answered()); got != 1000 {
			t.Errorf("%d answers", got)
		}
	})
}

// drainTime is how long Drain has.
const drainTime = 2 * time.Second

// record is an event of a sensor as the driver has it.
func record(sensor byte) message {
	r := ipmi.Event{Generator: 0x82, Message: [7]byte{4, 1, sensor, 1, 0x59, 0x60, 0x5F}}.Record(1, time.Unix(0, 0))
	return message{event: r[:]}
}

// TestEventsWaitForTheLog: each event that the driver has given away reaches the log, in order,
// also when the log is full for a while and the device goes meanwhile.
func TestEventsWaitForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		l := &lab{devices: []*driver{d}}
		var logged []byte
		var full atomic.Bool
		l.config.Report = func(_ context.Context, e ipmi.Event) error {
			if full.Load() {
				return ipmi.ErrNoSpace
			}
			if e.Interface != "ipmi0" || e.Channel != ipmi.ChannelSystemInterface || e.Generator != 0x82 {
				t.Errorf("event %+v", e)
			}
			logged = append(logged, e.Message[2])
			return nil
		}
		defer l.run(t)()
		d.incoming <- record(0)
		d.incoming <- message{event: []byte{1, 2, 3}}
		synctest.Wait()
		full.Store(true)
		for i := range byte(40) {
			d.incoming <- record(1 + i)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]bool{true, false}, d.toldOfEvents()); diff != "" {
			t.Errorf("the driver is told: %s", diff)
		}
		again := newDriver()
		l.has(again)
		close(d.over)
		time.Sleep(bus.LastRetry)
		synctest.Wait()
		if len(again.toldOfEvents()) != 0 {
			t.Errorf("the next device is told %v", again.toldOfEvents())
		}
		full.Store(false)
		time.Sleep(bus.LastRetry)
		synctest.Wait()
		var want []byte
		for i := range byte(41) {
			want = append(want, i)
		}
		if diff := cmp.Diff(want, logged); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]bool{true}, again.toldOfEvents()); diff != "" {
			t.Errorf("the next device is told: %s", diff)
		}
		statistics := l.bus.Statistics()
		if statistics["driver-events"] != 42 || statistics["driver-events-other"] != 1 {
			t.Errorf("counted %d and %d", statistics["driver-events"], statistics["driver-events-other"])
		}
	})
}

// TestEventsAtTheEnd: events that the driver has given away are logged when the bus ends, or the
// bus says how many are lost.
func TestEventsAtTheEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		free   time.Duration // from the beginning of Drain until the log takes events
		gone   bool          // the device, before
		drains bool
		logged []byte
		lost   int
	}{
		"the log takes them in time":    {time.Second, false, true, []byte{1, 2, 3, 4}, 0},
		"the device has gone":           {time.Second, true, true, []byte{1, 2, 3, 4}, 0},
		"what comes while the bus ends": {0, false, false, []byte{1, 2, 3, 4}, 0},
		"the log takes none":            {time.Hour, false, true, nil, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDriver()
				l := &lab{devices: []*driver{d}}
				var logged []byte
				free := time.Now().Add(time.Hour)
				l.config.Report = func(_ context.Context, e ipmi.Event) error {
					if time.Now().Before(free) {
						return ipmi.ErrNoSpace
					}
					logged = append(logged, e.Message[2])
					return nil
				}
				stop := l.run(t)
				for i := range byte(4) {
					d.incoming <- record(1 + i)
				}
				time.Sleep(time.Minute)
				if tt.gone {
					l.has(nil)
					close(d.over)
				}
				synctest.Wait()
				free = time.Now().Add(tt.free)
				begun := time.Now()
				if tt.drains {
					ctx, cancel := context.WithTimeout(t.Context(), drainTime)
					defer cancel()
					l.bus.Drain(ctx)
					synctest.Wait()
					if told := d.toldOfEvents(); !tt.gone && !cmp.Equal([]bool{true, false}, told) {
						t.Errorf("the driver is told %v", told)
					}
				}
				stop()
				if took := time.Since(begun); took > drainTime+lastLogTime {
					t.Errorf("it took %v", took)
				}
				if diff := cmp.Diff(tt.logged, logged); diff != "" {
					t.Errorf("logged: %s", diff)
				}
				if l.lost != tt.lost {
					t.Errorf("%d are said to be lost, want %d", l.lost, tt.lost)
				}
			})
		})
	}
}

func TestProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{devices: []*driver{newDriver()}, config: Config{Engine: ipmb.Config{Host: 3}}}
		defer l.run(t)()
		want := bus.Properties{
			Name: "ipmi0", Device: "/dev/ipmi0", Transport: "openipmi", Channel: 0, Index: 3<<2 | 2,
			OwnAddress: 0x20, RemoteAddress: 0x20, State: bus.Up, Handler: "none",
			Policy: ipmb.RetryPolicy{Tries: 3, Timeout: 2 * time.Second},
		}
		if diff := cmp.Diff(want, l.bus.Properties()); diff != "" {
			t.Error(diff)
		}
		l.bus.Drain(t.Context())
	})
}
