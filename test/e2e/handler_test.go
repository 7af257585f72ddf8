package e2e

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
	"ipmbd/test/hostd"
)

func TestASecondHandlerIsRefusedAndToldByWhom(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none"})))
	first, second := newProgram(t, bus.Address, says(1)), newProgram(t, bus.Address, says(2))
	first.mustRegister(t, command(0x30, 0x11))

	err := second.register(command(0x30, 0x10), commands{0x30, all, anyGroup, 0x02})
	if errorName(err) != commonError+"NotAllowed" || !strings.Contains(err.Error(), first.Names()[0]) || !strings.Contains(err.Error(), "30h 11h") {
		t.Fatalf("the second: %v", err)
	}
	if got := n.ask(t, toHost(1, 0x11)); !bytes.Equal(got.data, []byte{0, 1}) {
		t.Errorf("answered % X", got.data)
	}
	if code := n.code(t, toHost(2, 0x10)); code != 0xC1 {
		t.Errorf("a command of the registration that was refused: %02Xh", code)
	}
	second.leaves(t, first)
	if err := second.register(command(0x30, 0x11)); err != nil {
		t.Fatalf("when the first has gone: %v", err)
	}
	if got := n.ask(t, toHost(3, 0x11)); !bytes.Equal(got.data, []byte{0, 2}) {
		t.Errorf("answered % X", got.data)
	}
	if got := second.handlers(t); len(got) != 1 || got[0] != second.Names()[0] {
		t.Errorf("handlers %v", got)
	}
}

func TestAHandlerHearsWhereARequestComesFrom(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "devIndex": 2, "ipmi-channel": 6})))
	asked := make(chan execution, 1)
	p := newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) {
		asked <- x
		return x.answer(0)
	})
	p.mustRegister(t, commands{0x30, all, anyGroup, 1 << 6})
	request := toHost(1, 0x11, 1, 2, 3)
	request.toLUN = 3
	n.ask(t, request)
	x := receive(t, "the request", asked)
	want := map[string]any{"rqSA": int32(0x16), "hostId": int32(2), "channel": byte(6), "interface": "bus5", "requester": byte(0x2C)}
	for name, value := range want {
		if x.options[name] != value {
			t.Errorf("%s is %v, want %v", name, x.options[name], value)
		}
	}
	if len(x.options) != len(want) || x.netFn != 0x30 || x.lun != 3 || x.cmd != 0x11 || !bytes.Equal(x.data, []byte{1, 2, 3}) {
		t.Errorf("asked %+v", x)
	}
	sender, _ := x.message.Headers[dbus.FieldSender].Value().(string)
	if owner := p.owner(t, service); sender != owner {
		t.Errorf("it came from %s, the service is %s", sender, owner)
	}
}

func TestOEMHandlersShareANetFn(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(channel(n, nil)))
	newProgram(t, bus.Address, says(1)).mustRegister(t, commands{0x2E, all, 0x000157, everywhere})
	newProgram(t, bus.Address, says(2)).mustRegister(t, commands{0x2E, all, 0x00A015, everywhere})
	newProgram(t, bus.Address, says(3)).mustRegister(t, commands{0x2C, all, 0xDC, everywhere})
	for number, c := range []struct {
		netFn byte
		data  []byte
		want  []byte
	}{
		{0x2E, []byte{0x57, 0x01, 0x00, 0xFF}, []byte{0, 1}},
		{0x2E, []byte{0x15, 0xA0, 0x00}, []byte{0, 2}},
		{0x2E, []byte{0x99, 0x99, 0x99}, []byte{0xC1}}, // the host daemon's
		{0x2C, []byte{0xDC}, []byte{0, 3}},
		{0x2C, []byte{0x52}, []byte{0xC1}},
	} {
		request := packet{to: 0x20, netFn: c.netFn, from: 0x2C, number: byte(number), cmd: 0x40, data: c.data}
		if got := n.ask(t, request); !bytes.Equal(got.data, c.want) {
			t.Errorf("%02Xh % X: % X, want % X", c.netFn, c.data, got.data, c.want)
		}
	}
}

func TestAHandlerThatDiesInMidRequest(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "handler-timeout-ms": 60000})))
	asked := make(chan struct{}, 1)
	hold := make(chan struct{})
	defer close(hold)
	p := newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) {
		asked <- struct{}{}
		<-hold
		return x.answer(0)
	})
	p.mustRegister(t, command(0x30, all))
	request := toHost(1, 0x11)
	n.send(t, request.bytes())
	receive(t, "the request", asked)
	p.Close()
	if code := n.answerTo(t, request).data[0]; code != 0xCE {
		t.Errorf("%02Xh", code)
	}
	c := connect(t, bus.Address)
	eventually(t, "no handler", func() bool { return len(c.handlers(t)) == 0 })
	if code := n.code(t, toHost(2, 0x11)); code != 0xC1 {
		t.Errorf("afterwards: %02Xh", code)
	}
}

// TestALateAnswerOfAHandlerReachesNobody: the first request is answered C3h;
// its handler answers it when the second, with the same number and command, is
// with the handler, and only then the second.
func TestALateAnswerOfAHandlerReachesNobody(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "handler-timeout-ms": 4000})))
	late := make(chan struct{})
	var tooLate atomic.Uint64 // answers to come
	c := connect(t, bus.Address)
	p := newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) {
		switch x.data[0] {
		case 0xAA:
			<-late
		case 0xBB:
			close(late)
			eventually(t, "the late answer", func() bool { return c.routerStatistics(t)["handler-replies-late"] == tooLate.Load() })
		}
		return x.answer(0, x.data...)
	})
	p.mustRegister(t, command(0x30, 0x11))
	got, times := n.askAtDeadline(t, c, "bus5", toHost(5, 0x11, 0xAA))
	if !bytes.Equal(got.data, []byte{0xC3}) {
		t.Fatalf("too slow: % X", got.data)
	}
	tooLate.Store(times)
	if got := n.ask(t, toHost(5, 0x11, 0xBB)); !bytes.Equal(got.data, []byte{0, 0xBB}) {
		t.Errorf("the next request with the number: % X", got.data)
	}
	if got := n.ask(t, toHost(5, 0x11, 0xCC)); !bytes.Equal(got.data, []byte{0, 0xCC}) {
		t.Errorf("the one after that: % X", got.data)
	}
}

// TestAFloodOnOneBusLeavesTheOtherAlone: requests for a handler that hangs pour
// in on one bus, while requests of the other go to a handler and to the host daemon.
func TestAFloodOnOneBusLeavesTheOtherAlone(t *testing.T) {
	t.Parallel()
	bus, flooded, other := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(
		channel(flooded, object{"handler-timeout-ms": 2000}),
		channel(other, object{"devIndex": 1, "ipmi-channel": 2})))
	hold := make(chan struct{})
	hangs := newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) {
		<-hold
		return x.answer(0)
	})
	defer close(hold)
	hangs.mustRegister(t, commands{0x32, all, anyGroup, everywhere})
	// A process of its own: the connections of a process share its places.
	hostd.Start(t, bus.Address, hostd.Register+registration(hostd.CommandCode))

	done, poured := make(chan struct{}), make(chan int)
	go func() {
		sent := 0
		for {
			select {
			case <-done:
				poured <- sent
				return
			case <-flooded.inbox: // the answers, so that the node reads on
			default:
				request := packet{to: 0x20, netFn: 0x32, from: 0x2C, number: byte(sent) & 63, cmd: byte(sent >> 6), data: []byte{byte(sent >> 14)}}
				if flooded.write(request.bytes()) {
					sent++
				}
			}
		}
	}()
	for i := range testmain.Amount(100, 300) {
		request := packet{to: 0x20, netFn: hostd.NetFn, from: 0x2C, number: byte(i) & 63, cmd: hostd.CommandCode, data: []byte{0}}
		if i%2 == 1 {
			request.cmd, request.data = hostd.CommandEcho, []byte{byte(i), byte(i >> 8)}
		}
		begin := time.Now()
		got := other.ask(t, request)
		if took := time.Since(begin); got.data[0] != 0 || took > atOnce {
			t.Fatalf("request %d: %02Xh after %v", i, got.data[0], took)
		}
	}
	close(done)
	if sent := receive(t, "the end of the flood", poured); sent < 1000 {
		t.Errorf("only %d requests poured in", sent)
	}
}

// TestManyRequestsAndHandlersOfAllKinds: some crash, some are too slow,
// some answer twice and some answer garbage. Each request gets one answer, and a
// good one is its own.
func TestManyRequestsAndHandlersOfAllKinds(t *testing.T) {
	t.Parallel()
	const together, timeout = 24, 400 * time.Millisecond
	requests := testmain.Amount(2_500, 10_000)
	bus, n, random := bustest.Start(t), listen(t, "ipmb-5"), chance(t)
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "handler-timeout-ms": timeout.Milliseconds()})))

	newProgram(t, bus.Address, echoes).mustRegister(t, command(0x30, 0))
	newProgram(t, bus.Address, slowAtTimes(random, timeout)).mustRegister(t, command(0x30, 1))
	twice := newProgram(t, bus.Address, nil)
	twice.answersTwice(t)
	twice.mustRegister(t, command(0x30, 2))
	newProgram(t, bus.Address, garbage(random)).mustRegister(t, command(0x30, 3))
	stop := crashAgainAndAgain(t, random, bus.Address, command(0x30, 4))
	defer stop()

	codes := make(map[byte]int)
	waiting := make(map[[2]byte][]byte) // data by number and command
	for sent, answered := 0, 0; answered < requests; {
		for sent < requests && len(waiting) < together {
			request := toHost(byte(sent)&63, byte(sent%5), byte(sent), byte(sent>>8))
			key := [2]byte{request.number, request.cmd}
			if waiting[key] != nil {
				break // its number is in use still
			}
			waiting[key] = request.data
			n.send(t, request.bytes())
			sent++
		}
		got := mustUnpack(t, n.next(t))
		key := [2]byte{got.number, got.cmd}
		data := waiting[key]
		switch {
		case data == nil:
			t.Fatalf("an answer to nothing, or a second one: % X", got.bytes())
		case got.data[0] == 0 && !bytes.Equal(got.data[1:], data):
			t.Fatalf("% X was answered with another one's % X", data, got.data)
		}
		delete(waiting, key)
		codes[got.data[0]]++
		answered++
	}
	// Nothing comes after the last but the answer to one more.
	last := toHost(63, 0, 0xEE)
	if got := n.ask(t, last); !bytes.Equal(got.data, []byte{0, 0xEE}) {
		t.Errorf("the last one: % X", got.data)
	}
	t.Logf("completion codes: %v", codes)
	for code, least := range map[byte]int{0: requests / 4, 0xC3: 1, 0xCE: 1, 0xFF: requests / 10} {
		if codes[code] < least {
			t.Errorf("%02Xh came %d times, at least %d were expected", code, codes[code], least)
		}
	}
}

// slowAtTimes answers one in forty when it is too late.
func slowAtTimes(random *rand.Rand, timeout time.Duration) func(execution) (executed, *dbus.Error) {
	return func(x execution) (executed, *dbus.Error) {
		if random.IntN(40) == 0 {
			<-time.After(timeout + time.Duration(random.Int64N(int64(timeout)))) // the delay
		}
		return x.answer(0, x.data...)
	}
}

// answersTwice makes a program answer each request with two replies.
func (p server) answersTwice(t testing.TB) {
	t.Helper()
	execute := func(message dbus.Message, netFn, lun, cmd byte, data []byte, _ map[string]dbus.Variant) (executed, *dbus.Error) {
		answer, _ := execution{netFn: netFn, lun: lun, cmd: cmd}.answer(0, data...)
		p.Send(&dbus.Message{
			Type: dbus.TypeMethodReply,
			Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldReplySerial: dbus.MakeVariant(message.Serial()),
				dbus.FieldDestination: message.Headers[dbus.FieldSender],
				dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(answer)),
			},
			Body: []any{answer},
		}, nil)
		return answer, nil
	}
	if err := p.ExportMethodTable(map[string]any{"execute": execute}, p.path, serverIface); err != nil {
		t.Fatal(err)
	}
}

// garbage answers with values that are no answer.
func garbage(random *rand.Rand) func(execution) (executed, *dbus.Error) {
	return func(x execution) (executed, *dbus.Error) {
		answer, _ := x.answer(0, x.data...)
		switch random.IntN(4) {
		case 0:
			answer.NetFn = x.netFn
		case 1:
			answer.Command++
		case 2:
			answer.Data = make([]byte, 1000)
		case 3:
			return answer, dbus.NewError("com.example.Error.Garbage", []any{[]byte{1, 2, 3}})
		}
		return answer, nil
	}
}

// crashAgainAndAgain serves commands by programs each of which dies in the
// middle of a request and is followed by the next, until stop.
func crashAgainAndAgain(t testing.TB, random *rand.Rand, address string, rows ...commands) (stop func()) {
	t.Helper()
	ctx := t.Context()
	var loop sync.WaitGroup
	stopped := make(chan struct{})
	loop.Go(func() {
		for {
			crashed := make(chan struct{})
			var once sync.Once
			p := newProgram(t, address, func(x execution) (executed, *dbus.Error) {
				if random.IntN(20) == 0 {
					once.Do(func() { close(crashed) })
					<-ctx.Done() // it has been closed by then
				}
				return x.answer(0, x.data...)
			})
			for p.register(rows...) != nil && ctx.Err() == nil { // the last one is still known
				select {
				case <-stopped:
					return
				default:
				}
			}
			select {
			case <-crashed:
				p.Close()
			case <-stopped:
				return
			}
		}
	})
	return func() {
		close(stopped)
		loop.Wait()
	}
}
