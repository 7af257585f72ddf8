package e2e

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// TestOneProgramLeavesHalfOfABus: a program that makes as many calls as it can, on any number of
// connections, leaves half of the 256 calls of a bus to another one. All programs of a user other
// than root count as one, so the other one here is root's.
func TestOneProgramLeavesHalfOfABus(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	const others = 128
	for _, hog := range []struct {
		way string
		uid int
	}{{"calls", 0}, {"calls", nobody}, {"frames", 0}, {"frames", nobody}} {
		t.Run(fmt.Sprintf("%s of user %d", hog.way, hog.uid), func(t *testing.T) {
			t.Parallel()
			bus, n := bustest.Start(t), listen(t, "ipmb-5")
			respond, asked := recorder(silent)
			n.respond(0x2C, respond)
			n.respond(0x2E, respond)
			config, path := withFrames(t, channels(channel(n, object{"handler": "none"})))
			start(t, bus.Address, config)
			if err := chmodSocket(path); err != nil {
				t.Fatal(err)
			}
			args := []any{bus.Address, 6, 128, 60000, 64}
			if hog.way == "frames" {
				args = []any{path, 6, 128}
			}
			program := runOutsider(t, hog.uid, hog.way, args...)

			c := connect(t, bus.Address)
			done := make(chan *dbus.Call, others)
			for i := range others {
				o := map[string]dbus.Variant{"timeout-ms": dbus.MakeVariant(uint32(60000)), "tries": dbus.MakeVariant(uint32(1))}
				c.Object(service, busPath("bus5")).Go(objectIface+".sendRequestWithOptions", dbus.FlagNoAutoStart, done,
					byte(0x2C+2*(i%2)), byte(0x30), byte(0), byte(1), []byte{byte(i)}, o)
			}
			// None is answered before all have come, or been refused.
			refused := 0
			var come []packet
			for len(come)+refused < others {
				select {
				case p := <-asked:
					come = append(come, p)
				case call := <-done:
					refused++
					if refused == 1 {
						t.Errorf("beside a program that takes all it can get: %v", call.Err)
					}
				}
			}
			if refused > 0 {
				t.Errorf("%d of %d calls of another program were refused", refused, others)
			}
			for _, p := range come {
				n.write(p.answer(0, p.data...).bytes())
			}
			for range come {
				if call := receive(t, "the end of a call", done); call.Err != nil {
					t.Errorf("a call that the responder answered: %v", call.Err)
				}
			}
			// When the program has gone, its places are free.
			program.end()
			eventually(t, "all calls of the program to end", func() bool {
				s := c.statistics(t, "bus5")
				return s["calls-started"] == endsOf(s)
			})
		})
	}
}

// TestHungHandlersHarmNoOther: programs take requests and do not answer them, more
// than there is room for. A handler that works answers each of its requests.
func TestHungHandlersHarmNoOther(t *testing.T) {
	t.Parallel()
	const firstHung, hung = 0x20, 5
	for name, hang := range map[string]func(t *testing.T, address string){
		"five programs": func(t *testing.T, address string) {
			for i := range hung {
				program := hostd.Start(t, address, hostd.Register+registration(firstHung+byte(i)))
				if err := syscall.Kill(program.PID(), syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
		},
		"one program with five connections": func(t *testing.T, address string) {
			runOutsider(t, os.Geteuid(), "handlers", address, firstHung, hung)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus, n := bustest.Start(t), listen(t, "ipmb-5")
			// It is not the bus that has no room.
			start(t, bus.Address, channels(channel(n, object{
				"handler": "none", "handler-timeout-ms": 10000, "max-handlers": 1024})))
			hang(t, bus.Address)
			hostd.Start(t, bus.Address, hostd.Register+registration(hostd.CommandEcho))
			// 40 requests to each, of ten requesters with numbers of their own.
			for i := range 40 * hung {
				requester := 0x40 + 2*byte(i/hung%10)
				n.send(t, packet{to: 0x20, netFn: 0x30, from: requester, number: byte(i/50) & 63, cmd: firstHung + byte(i%hung), data: []byte{byte(i)}}.bytes())
			}
			const requests = 64
			for i := range byte(requests) {
				request := toHost(i, hostd.CommandEcho, i)
				n.send(t, request.bytes())
				got := packet{}
				for got.cmd != hostd.CommandEcho { // The hung ones' requests are refused, or time out.
					got = mustUnpack(t, n.next(t))
				}
				if got.number != i || got.data[0] != 0 {
					t.Fatalf("request %d of %d to the handler that works was answered % X", i, requests, got.bytes())
				}
			}
		})
	}
}

// registration is hostd's for one command of netFn 30h.
func registration(cmd byte) string {
	return fmt.Sprintf("48,%d,4294967295", cmd)
}

// TestIdleFrameClientsLockNobodyOut: programs of some users connect to the frame
// socket as often as they can and are silent. Another user's request is served, and
// root's.
func TestIdleFrameClientsLockNobodyOut(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	config, path := withFrames(t, channels(channel(n, nil)))
	start(t, bus.Address, config)
	if err := chmodSocket(path); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []int{2001, 2002, 2003} {
		for range 3 {
			runOutsider(t, uid, "idle-frames", path, 40)
		}
	}
	for who, uid := range map[string]int{"another user": nobody, "root": 0} {
		var conn net.Conn
		var err error
		bustest.As(uid, uid, func() { conn, err = net.Dial("unixpacket", path) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		awake(t, conn)
		request := packet{to: 0x2C, netFn: 0x30, from: 0x81, number: 9, cmd: 1, data: []byte{7}}
		answer := make([]byte, 2048)
		size := 0
		if _, err = conn.Write(append([]byte{1}, request.bytes()...)); err == nil {
			size, err = conn.Read(answer)
		}
		if want := append([]byte{1, 0}, request.answer(0, 7).bytes()...); err != nil || string(answer[:size]) != string(want) {
			t.Errorf("%s beside idle clients of other users: % X, %v", who, answer[:size], err)
		}
	}
}
