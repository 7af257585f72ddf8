package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/frames"
	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// withFrames is a configuration with a frame socket, whose path it returns.
func withFrames(t testing.TB, config object) (object, string) {
	t.Helper()
	path := filepath.Join(socketDir(t), "frames")
	config["frame-socket"] = path
	return config, path
}

// dialFrames makes a client of the frame socket that ends with its test.
func dialFrames(t testing.TB, path string) *frames.Client {
	t.Helper()
	c, err := frames.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// frameTo is a request of a frame socket's client.
func frameTo(responder ipmi.Address, data ...byte) ipmb.Frame {
	return ipmb.Frame{Destination: responder, NetFn: 0x30, Source: 0x81, SourceLUN: 3, Command: 1, Data: data}
}

// statusOf is the status of a request of the frame socket.
func statusOf(err error) ipmb.Status {
	if failed, ok := errors.AsType[*frames.StatusError](err); ok {
		return failed.Status
	}
	return ipmb.StatusOf(err)
}

// TestFramesBesideDBus: 10,000 requests of clients of both kinds, on two buses whose
// responders answer some twice; each has one answer, its own.
func TestFramesBesideDBus(t *testing.T) {
	t.Parallel()
	const workers = 10 // of each kind
	each := testmain.Amount(150, 500)
	bus, first, second := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	config, path := withFrames(t, channels(
		channel(first, object{"timeout-ms": 2000}), channel(second, object{"devIndex": 1, "timeout-ms": 2000})))
	for _, n := range []*node{first, second} {
		n.respond(0x2C, func(asked packet, send func(packet)) {
			echo(asked, send)
			if asked.data[3]%16 == 0 {
				echo(asked, send)
			}
		})
	}
	start(t, bus.Address, config)
	var all sync.WaitGroup
	c, f := connect(t, bus.Address), dialFrames(t, path)
	for w := range 2 * workers {
		all.Go(func() {
			for i := range each {
				data := binary.BigEndian.AppendUint32(nil, uint32(w*each+i))
				index := byte(1 + 4*(i%2))
				if w%2 == 0 {
					var got legacyAnswer
					call := <-c.Object(service, basePath).Go(legacy+".sendRequest", 0, make(chan *dbus.Call, 1), index, byte(0x30), byte(0), byte(1), data).Done
					if err := call.Store(&got); err != nil || got.Status != 0 || !bytes.Equal(got.Data, data) {
						t.Errorf("D-Bus: %+v, %v; want % X", got, err, data)
						return
					}
					continue
				}
				got, err := f.Do(t.Context(), index, frameTo(0x2C, data...))
				if err != nil || got.Destination != 0x81 || got.DestinationLUN != 3 || got.Code != 0 || !bytes.Equal(got.Data, data) {
					t.Errorf("frame socket: %+v, %v; want % X", got, err, data)
					return
				}
			}
		})
	}
	all.Wait()
	for _, name := range []string{"bus5", "bus6"} {
		if got := c.statistics(t, name)["calls-answered"]; got != uint64(workers*each) {
			t.Errorf("%s: calls-answered %d, want %d", name, got, workers*each)
		}
	}
	if got := c.routerStatistics(t)["frame-requests"]; got != uint64(workers*each) {
		t.Errorf("frame-requests %d", got)
	}
}

func TestFrameSocketSharesTheLimitOfABus(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	n.respond(0x2E, echo)
	config, path := withFrames(t, channels(channel(n, object{"timeout-ms": 60000, "max-calls": 1})))
	start(t, bus.Address, config)
	c, f := connect(t, bus.Address), dialFrames(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	first := c.sendLegacy(1, 0x30, 0, 1)
	receive(t, "the request", asked)
	if _, err := f.Do(ctx, 1, frameTo(0x2E)); statusOf(err) != ipmb.StatusBusy {
		t.Errorf("beyond the limit: %v", err)
	}
	// When the D-Bus client leaves, its call ends, and the other way round.
	c.Close()
	<-first.Done
	eventually(t, "room", func() bool { _, err := f.Do(ctx, 1, frameTo(0x2E)); return err == nil })
	waiting := dialFrames(t, path)
	go func() { _, _ = waiting.Do(ctx, 1, frameTo(0x2C)) }()
	receive(t, "the request", asked)
	other := connect(t, bus.Address)
	if got := other.legacy(t, 1, 0x30, 0, 1); got.Status != 3 {
		t.Errorf("beyond the limit: %+v", got)
	}
	waiting.Close()
	eventually(t, "room", func() bool { _, err := f.Do(ctx, 1, frameTo(0x2E)); return err == nil })
	cancel()
}

func TestStopTellsClientsOfTheFrameSocket(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	release := make(chan struct{})
	respond, asked := recorder(held(release))
	n.respond(0x2C, respond)
	never, askedToo := recorder(silent)
	n.respond(0x2E, never)
	n.respond(0x30, echo)
	config, path := withFrames(t, channels(channel(n, object{"timeout-ms": 60000})))
	d := start(t, bus.Address, config)
	c, f := connect(t, bus.Address), dialFrames(t, path)
	ended := make(chan error, 2)
	for _, responder := range []ipmi.Address{0x2C, 0x2E} {
		client := dialFrames(t, path)
		go func() {
			_, err := client.Do(t.Context(), 1, frameTo(responder, 7))
			ended <- err
		}()
	}
	receive(t, "a request", asked)
	receive(t, "a request", askedToo)
	d.signal(syscall.SIGTERM)
	eventually(t, "the name to be given back", func() bool { return !c.served(t) })
	eventually(t, "requests to be refused", func() bool {
		_, err := f.Do(t.Context(), 1, frameTo(0x30))
		return statusOf(err) == ipmb.StatusFailed || errors.Is(err, frames.ErrHungUp)
	})
	close(release)
	if err := receive(t, "the answer", ended); err != nil {
		t.Errorf("a request that is answered: %v", err)
	}
	if err := receive(t, "the end", ended); statusOf(err) != ipmb.StatusFailed || errors.Is(err, frames.ErrHungUp) {
		t.Errorf("a request that is not: %v", err)
	}
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left")
	}
}

func TestFrameSocketOfSystemd(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	config, path := withFrames(t, channels(channel(n, nil)))
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := dialFrames(t, path) // before there is a daemon
	cmd := exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, program, "--bus", bus.Address, "--config", configFile(t, config))
	cmd.ExtraFiles = []*os.File{file}
	d := launchCommand(t, cmd)
	if got, err := f.Do(t.Context(), 1, frameTo(0x2C, 9)); err != nil || got.Data[0] != 9 {
		t.Errorf("%+v, %v", got, err)
	}
	d.ready(t)
	d.stopped(t)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}

// The example is for programs in other languages: it is run as it stands.
func TestPythonExampleInTheDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/frames.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(text)
	if example == nil {
		t.Fatal("there is none")
	}
	if lines := strings.Count(string(example[1]), "\n"); lines > 30 {
		t.Errorf("%d lines", lines)
	}
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, deviceID)
	config, path := withFrames(t, channels(channel(n, nil)))
	start(t, bus.Address, config)
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-", path)
	cmd.Stdin = bytes.NewReader(example[1])
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v; install it with: apt-get install python3", err)
	}
	if want := "code 00h, data 50 01 04 00 02 21 57 01 00 0b 0b\n"; err != nil || string(out) != want {
		t.Errorf("%v, %q; want %q", err, out, want)
	}
}
