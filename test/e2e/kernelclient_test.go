package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// exchange is a request of Linux's IPMB client and a responder's answer.
type exchange struct{ request, answer packet }

// kernelClient has the frames that Linux's ipmi_ipmb and ipmitool sent: their frames as a
// character device gave them, behind a length byte.
func kernelClient(t testing.TB) []exchange {
	t.Helper()
	text, err := os.ReadFile("testdata/ipmb-kernel-client.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	for line := range strings.Lines(string(text)) {
		direction, frame, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch direction {
		case "rx":
			all = append(all, exchange{request: mustUnpack(t, unhex(t, frame)[1:])})
		case "tx":
			all[len(all)-1].answer = mustUnpack(t, unhex(t, frame)[1:])
		}
	}
	if len(all) != 48 {
		t.Fatalf("%d requests in the recording", len(all))
	}
	return all
}

// hostAnswer is how hostd answers a request of the recording.
func hostAnswer(request packet) packet {
	if request.netFn == 6 && request.cmd == 1 {
		return request.answer(0, []byte(hostd.DeviceID)...)
	}
	return request.answer(0xC1)
}

func TestKernelClientsRecordingIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, x := range kernelClient(t) {
		want := x.request.answer(x.answer.data[0], x.answer.data[1:]...)
		if !bytes.Equal(x.answer.bytes(), want.bytes()) {
			t.Errorf("recorded % X, put together % X", x.answer.bytes(), want.bytes())
		}
	}
}

// recordedHost is how the host daemon should see a request of the recording.
func recordedHost(sender string, devIndex int32, p packet) hostd.Request {
	return hostd.Request{
		Sender: sender, NetFn: p.netFn, LUN: p.toLUN, Command: p.cmd, Data: p.data,
		RqSA: new(int32(p.from >> 1)), HostID: &devIndex,
	}
}

func TestKernelClientIsServedOneByOne(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, object{"devIndex": 3})))
	owner := connect(t, bus.Address).owner(t, service)
	for _, x := range kernelClient(t) {
		n.send(t, x.request.bytes())
		if got, want := n.next(t), hostAnswer(x.request).bytes(); !bytes.Equal(got, want) {
			t.Errorf("asked % X: answered % X, want % X", x.request.bytes(), got, want)
		}
		if diff := cmp.Diff(recordedHost(owner, 3, x.request), host.Next(t)); diff != "" {
			t.Errorf("asked % X: on D-Bus %s", x.request.bytes(), diff)
		}
	}
}

func TestKernelClientIsServedAllAtOnce(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, object{"type": "ipmb", "devIndex": 1})))
	owner := connect(t, bus.Address).owner(t, service)

	answers, requests := make(map[string]int), make(map[string]int)
	all := kernelClient(t)
	for _, x := range all {
		n.send(t, x.request.bytes())
		answers[fmt.Sprintf("% X", hostAnswer(x.request).bytes())]++
		requests[describe(recordedHost(owner, 1, x.request))]++
	}
	for range all {
		answers[fmt.Sprintf("% X", n.next(t))]--
		requests[describe(host.Next(t))]--
	}
	for _, left := range []map[string]int{answers, requests} {
		for what, n := range left {
			if n != 0 {
				t.Errorf("%+d times: %s", -n, what)
			}
		}
	}
}

func describe(r hostd.Request) string {
	return fmt.Sprintf("from %s: netFn %02X LUN %d cmd %02X [% X], rqSA %d, hostId %d, %d more options",
		r.Sender, r.NetFn, r.LUN, r.Command, r.Data, *r.RqSA, *r.HostID, r.Others)
}

func TestLUNsOfARequestReachTheHostAndComeBack(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, nil)))
	for number := range byte(16) {
		request := packet{
			to: 0x20, netFn: hostd.NetFn, toLUN: number & 3,
			from: 0x90, number: number, fromLUN: number >> 2, cmd: hostd.CommandCode, data: []byte{0x80 + number},
		}
		n.send(t, request.bytes())
		if got, want := n.next(t), request.answer(0x80+number).bytes(); !bytes.Equal(got, want) {
			t.Errorf("answered % X, want % X", got, want)
		}
		if got := host.Next(t); got.LUN != number&3 {
			t.Errorf("LUN %d on D-Bus, %d on the bus", got.LUN, number&3)
		}
	}
}

func TestChannelOfABusNameHasItsOwnConnection(t *testing.T) {
	t.Parallel()
	bus, one, other := bustest.Start(t), listen(t, "ipmb-1"), listen(t, "ipmb-2")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(one, nil), channel(other, object{"devIndex": 1, "bus-name": "INTRABMC"})))
	c := connect(t, bus.Address)
	for n, name := range map[*node]string{one: service, other: "xyz.openbmc_project.Ipmi.Channel.INTRABMC"} {
		n.ask(t, packet{to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 1})
		if got, want := host.Next(t).Sender, c.owner(t, name); got != want || got == "" {
			t.Errorf("%s is %q, the request came from %q", name, want, got)
		}
	}
	if c.owner(t, service) == c.owner(t, "xyz.openbmc_project.Ipmi.Channel.INTRABMC") {
		t.Error("one connection has both names")
	}
}
