package systemd

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"ipmbd/frames"
	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
)

// index is the index of bus0 on the frame socket: devIndex 0, type me.
const index = 1

// client is a client of the frame socket.
func (l *lab) client() *frames.Client {
	l.t.Helper()
	c, err := frames.Dial(l.t.Context(), l.path(framePath))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

// request is a frame for the controller, which answers with the data.
func request(data ...byte) ipmb.Frame {
	return ipmb.Frame{Destination: 0x2C, NetFn: 0x30, Source: 0x20, Command: 1, Data: data}
}

// exchange sends a request, whose own answer must come.
func exchange(ctx context.Context, c *frames.Client, data ...byte) error {
	response, err := c.Do(ctx, index, request(data...))
	if err == nil && (response.Code != 0 || string(response.Data) != string(data)) {
		return errForeign
	}
	return err
}

func TestFirstConnectionToTheFrameSocketStartsTheService(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", frameSocket)
	if got := l.show(service, "ActiveState"); got != "inactive" {
		t.Fatalf("the service is %s", got)
	}
	took(t, "first connection to "+framePath+" of a stopped service, answered", func() {
		if err := exchange(t.Context(), l.client(), 1, 2, 3); err != nil {
			t.Error(err)
		}
	})
}

// Clients are connected, or connect, while the service restarts.
func TestRestartKeepsTheFrameSocket(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", frameSocket, service)
	before := l.identity(framePath)
	conn, err := net.Dial("unixpacket", l.path(framePath))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connected := l.client()
	if err := exchange(t.Context(), connected, 1); err != nil {
		t.Fatal(err)
	}

	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		took(t, "systemctl restart with clients connected", func() { l.run("systemctl", "restart", service) })
	}()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a connected client reads %d bytes, %v", n, err)
	}
	took(t, "from the end of its connection to the next answer", func() {
		// The first to answer may be about to end; no client is refused.
		eventually(t, "a client that comes again is answered", func() bool {
			err := exchange(t.Context(), connected, 2)
			if err != nil && !errors.Is(err, frames.ErrHungUp) {
				t.Fatal(err)
			}
			return err == nil
		})
	})
	<-restarted
	if after := l.identity(framePath); after != before {
		t.Errorf("the socket was %s, and is %s", before, after)
	}
	if err := exchange(t.Context(), l.client(), 3); err != nil {
		t.Error(err)
	}
}

func TestWhoMayConnectToTheFrameSocket(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", frameSocket)
	path := l.anyones(framePath)
	for user, may := range map[string]bool{"root": true, "sender": true, "machine": false, "nobody": false} {
		uid, gid := l.ids(user)
		var err error
		bustest.As(uid, gid, func() {
			var c *frames.Client
			if c, err = frames.Dial(t.Context(), path); err == nil {
				defer c.Close()
				err = exchange(t.Context(), c, 1)
			}
		})
		if may && err != nil || !may && !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: %v", user, err)
		}
	}
}
