package e2e

import (
	"bytes"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// served sees to it that the host daemon's next request is this one.
func served(t testing.TB, host *hostd.Daemon, want packet) {
	t.Helper()
	if got := host.Next(t); got.Command != want.cmd || !bytes.Equal(got.Data, want.data) {
		t.Fatalf("the host was asked %02X [% X], not %02X [% X]", got.Command, got.Data, want.cmd, want.data)
	}
}

func TestImpatientRequesterIsServedOnce(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)

	request := delayed(7, 300, 0x11)
	for range 5 {
		n.send(t, request.bytes())
	}
	first := n.answerTo(t, request)
	c.counted(t, "bus5", "dropped-repeat", 4)
	for range 3 {
		if again := n.ask(t, request); !bytes.Equal(again.bytes(), first.bytes()) {
			t.Errorf("repeated: % X, first % X", again.bytes(), first.bytes())
		}
	}
	other := delayed(8, 0, 0x22)
	n.ask(t, other)
	served(t, host, request)
	served(t, host, other)
	if got := c.statistics(t, "bus5")["requests-replayed"]; got != 3 {
		t.Errorf("requests-replayed %d, want 3", got)
	}
}

func TestRequesterThatWrapsItsNumbersIsServedAnew(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, nil)))
	// The poll is the same to the last byte each time its number comes round.
	for poll := range 200 {
		request := toHost(byte(poll%64), hostd.CommandEcho, 0xAB)
		n.ask(t, request)
		served(t, host, request)
	}
}

func TestRequesterWithOneNumberIsServedAnew(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, nil)))
	for i := range 40 {
		request := delayed(0, 0, byte(i%2))
		if got := n.ask(t, request); !bytes.Equal(got.data, []byte{0, byte(i % 2)}) {
			t.Fatalf("request %d: % X", i, got.data)
		}
		served(t, host, request)
	}
}

func TestRequesterWithOneNumberAndCommandsInTurnIsServedAnew(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	// Each request comes again later than a retry would.
	host := hostd.Start(t, bus.Address, hostd.Print, hostd.DelayMS+"350")
	start(t, bus.Address, channels(channel(n, nil)))
	for range 3 {
		for _, request := range []packet{toHost(0, hostd.CommandEcho, 1), toHost(0, hostd.CommandCode, 0xD5)} {
			n.ask(t, request)
			served(t, host, request)
		}
	}
}
