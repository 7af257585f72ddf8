package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// drainTime is how long a stop waits for calls in progress.
const drainTime = 2 * time.Second

// underWay is how many milliseconds a request stays at the host daemon when a stop begins: it must
// still be there then, and far less than drainTime.
const underWay = 300

// held is a responder that answers when the test releases it.
func held(release <-chan struct{}) responder {
	return func(asked packet, send func(packet)) {
		go func() {
			<-release
			echo(asked, send)
		}()
	}
}

func TestStopLetsCallsEnd(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus, n := bustest.Start(t), listen(t, "ipmb-5")
			release := make(chan struct{})
			respond, asked := recorder(held(release))
			n.respond(0x2C, respond)
			d := start(t, bus.Address, channels(channel(n, unhurried)))
			c := connect(t, bus.Address)
			var old, named []*dbus.Call
			for i := range byte(32) {
				old = append(old, c.sendLegacy(1, 0x30, 0, 1, i))
				named = append(named, c.send("bus5", 0, 0x30, 0, 2, i))
			}
			for range 64 {
				receive(t, "a request on the bus", asked)
			}
			d.signal(signal)
			eventually(t, "the name to be given back", func() bool { return !c.served(t) })
			close(release)
			for i := range byte(32) {
				if got := legacyEnd(t, old[i]); got.Status != 0 || got.Data[0] != i {
					t.Errorf("%+v", got)
				}
				if code, data := answered(t, named[i]); code != 0 || data[0] != i {
					t.Errorf("%02Xh % X", code, data)
				}
			}
			if code := d.exit(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestStopDoesNotWaitForTheSilent(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	d := start(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	old, named := c.sendLegacy(1, 0x30, 0, 1), c.send("bus5", 0, 0x30, 0, 2)
	type result struct {
		text string
		code int
	}
	told := make(chan result, 1)
	go func() {
		text, code := ipmbctl(t, bus.Address, "send", "bus5", "0x30", "3")
		told <- result{text, code}
	}()
	for range 3 {
		receive(t, "a request on the bus", asked)
	}
	begin := time.Now()
	d.signal(syscall.SIGTERM)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(begin); took < drainTime-100*time.Millisecond || took > drainTime+atOnce {
		t.Errorf("stopped after %v, not about %v", took, drainTime)
	}
	if got := legacyEnd(t, old); got.Status != 4 {
		t.Errorf("a call under way: %+v", got)
	}
	if got := errorName(end(t, named).Err); got != commonError+"Unavailable" {
		t.Errorf("a call under way: %s", got)
	}
	if got := receive(t, "the end of ipmbctl", told); got.code != 7 || !strings.Contains(got.text, "ipmbd stopped before it replied") {
		t.Errorf("ipmbctl: exit status %d\n%s", got.code, got.text)
	}
}

// TestStopLetsRequestsBeAnswered: an accepted request is answered; its requester need not repeat
// it.
func TestStopLetsRequestsBeAnswered(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	d := start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	request := delayed(1, underWay, 0xAB)
	n.send(t, request.bytes())
	host.Next(t)
	d.signal(syscall.SIGTERM)
	eventually(t, "the name to be given back", func() bool { return !c.served(t) })
	if got := n.answerTo(t, request); got.data[0] != 0 || got.data[1] != 0xAB {
		t.Errorf("answered % X", got.data)
	}
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// A stop that waits for nothing takes less than one that waits. A busy machine makes some
// stops longer, but not all.
func TestStopWithNothingToDoIsQuick(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	config := channels(channel(n, nil), channel(newNode(t, "ipmb-6"), object{"devIndex": 1}))
	var all []time.Duration
	for len(all) < 5 {
		d := start(t, bus.Address, config)
		begin := time.Now()
		d.stopped(t)
		took := time.Since(begin)
		d.status(t, "STOPPING=1")
		if took < drainTime {
			return
		}
		all = append(all, took)
	}
	t.Errorf("took %v", all)
}

func TestStopAtAStalledBusIsNotHeld(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	d := start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	n.pause()
	defer n.resume()
	fill(c)
	c.state(t, "bus5", "Down")
	d.stopped(t)
}

// A stop does not wait for a message bus that reads no more. The frames make so many signals that
// a write to it blocks.
func TestStopWhileTheMessageBusReadsNoMore(t *testing.T) {
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, silent)
	d := start(t, bus.Address, channels(channel(n, object{"type": "ipmb"})))
	c := connect(t, bus.Address)
	var pid uint32
	if err := c.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(int(pid), syscall.SIGCONT)
	unasked := packet{to: 0x20, netFn: 7, from: 0x2C, number: 1, cmd: 1, data: make([]byte, 200)}
	for range 6000 {
		n.send(t, unasked.bytes())
	}
	n.send(t, toHost(1, hostd.CommandEcho, 1).bytes())
	d.signal(syscall.SIGTERM)
	eventually(t, "the end of the daemon", d.ended)
}
