package e2e

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"
	"time"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// wire is the far end of a bus without package i2c, which would refuse to send garbage.
type wire struct{ *net.UnixConn }

// listenRaw makes the socket of a wire; accept waits for the daemon.
func listenRaw(t testing.TB) (path string, accept func() wire) {
	t.Helper()
	path = filepath.Join(socketDir(t), "ipmb-5")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return path, func() wire {
		conn, err := listener.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return wire{conn}
	}
}

func (w wire) put(t testing.TB, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (w wire) get(t testing.TB) []byte {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(timeLimit)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	n, err := w.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestGarbageDoesNoHarm(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	path, accept := listenRaw(t)
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(channel(&node{path: path}, nil)))
	c, w := connect(t, bus.Address), accept()

	good := toHost(0, hostd.CommandCode, 0).bytes()
	last := len(good) - 1
	garbage := []struct {
		name    string
		frame   []byte
		counter string
	}{
		{"7-byte response", []byte{0x20, 0x1C, 0xC4, 0x2C, 0x04, 0x01, 0xCF}, "dropped-short"}, // good checksums
		{"one byte", []byte{0x20}, "dropped-short"},
		{"nothing", nil, "dropped-empty"},
		{"wrong body checksum", append(bytes.Clone(good[:last]), good[last]+1), "dropped-body-checksum"},
		{"wrong header checksum", append([]byte{good[0], good[1], good[2] + 1}, good[3:]...), "dropped-header-checksum"},
		{"truncated", good[:last], "dropped-body-checksum"},
		{"address twice", append([]byte{0x20}, packet{to: 0x20, netFn: 6, from: 0x2C, cmd: 1}.bytes()...), "dropped-header-checksum"},
		{"MCTP", []byte{0x20, 0x0F, 0x05, 0x21, 0x01, 0x00, 0x08, 0xC8}, "dropped-header-checksum"},
		{"265 bytes", packet{to: 0x20, netFn: 6, from: 0x2C, cmd: 1, data: make([]byte, 258)}.bytes(), "dropped-oversized"},
		{"4000 bytes", packet{to: 0x20, netFn: 6, from: 0x2C, cmd: 1, data: make([]byte, 3993)}.bytes(), "dropped-oversized"},
		{"response nobody waits for", toHost(0, 1).answer(0).bytes(), "responses-unexpected"},
		{"to another address", packet{to: 0x22, netFn: 6, from: 0x2C, cmd: 1}.bytes(), "dropped-foreign"},
		{"from an odd address", packet{to: 0x20, netFn: 6, from: 0x2D, cmd: 1}.bytes(), "dropped-requester"},
		{"from the general call", packet{to: 0x20, netFn: 6, from: 0x00, cmd: 1}.bytes(), "dropped-requester"},
		{"from ourselves", packet{to: 0x20, netFn: 6, from: 0x20, cmd: 1}.bytes(), "dropped-requester"},
	}
	for i, g := range garbage {
		before := c.statistics(t, "bus5")
		w.put(t, g.frame)
		request := toHost(byte(i), hostd.CommandCode, 0x80+byte(i))
		w.put(t, request.bytes())
		if got, want := w.get(t), request.answer(0x80+byte(i)).bytes(); !bytes.Equal(got, want) {
			t.Errorf("after %s: % X, want % X", g.name, got, want)
		}
		for counter, n := range c.statistics(t, "bus5") {
			dropped := len(counter) > 8 && counter[:8] == "dropped-" || counter == "responses-unexpected"
			if want := before[counter]; dropped && counter == g.counter && n != want+1 || dropped && counter != g.counter && n != want {
				t.Errorf("%s: %s was %d and is %d", g.name, counter, want, n)
			}
		}
	}
	call := c.sendLegacy(1, 0x30, 0, 1, 0x5A)
	w.put(t, mustUnpack(t, w.get(t)).answer(0, 0x5A).bytes())
	if got := legacyEnd(t, call); got.Status != 0 || !bytes.Equal(got.Data, []byte{0x5A}) {
		t.Errorf("a call afterwards: %+v", got)
	}
}
