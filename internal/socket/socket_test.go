package socket_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ipmbd/internal/socket"
)

func TestListen(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket"} {
		path := filepath.Join(t.TempDir(), "socket")
		first, err := socket.Listen(t.Context(), network, path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := socket.Listen(t.Context(), network, path); err == nil {
			t.Errorf("%s: a socket in use was taken", network)
		}
		first.(*net.UnixListener).SetUnlinkOnClose(false)
		first.Close()
		again, err := socket.Listen(t.Context(), network, path)
		if err != nil {
			t.Fatalf("%s: a socket of nobody is in the way: %v", network, err)
		}
		again.Close()
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := socket.Listen(t.Context(), network, path); err == nil {
			t.Errorf("%s: a file was replaced", network)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

// lacking is a listener whose accepts fail with errors that a test has in store.
type lacking struct {
	net.Listener
	errors []error
}

func (l *lacking) Accept() (net.Conn, error) {
	if len(l.errors) == 0 {
		return l.Listener.Accept()
	}
	err := l.errors[0]
	l.errors = l.errors[1:]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
}

func TestAcceptGoesOnAfterErrorsThatPass(t *testing.T) {
	for _, c := range []struct {
		err    error
		passes bool
	}{
		{syscall.EMFILE, true}, {syscall.ENFILE, true}, {syscall.ENOBUFS, true}, {syscall.ENOMEM, true},
		{syscall.EPERM, true}, {syscall.EPROTO, true}, {syscall.ECONNABORTED, true},
		{syscall.EINVAL, false}, {syscall.ENOTSOCK, false}, {net.ErrClosed, false},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			client, err := net.Dial("unix", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			done := make(chan struct{})
			close(done)
			accepted := 0
			err = socket.Accept(done, &lacking{listener, []error{c.err, c.err}}, func(conn net.Conn) {
				accepted++
				conn.Close()
				listener.Close()
			})
			if passed := accepted == 1; passed != c.passes || passed && !errors.Is(err, net.ErrClosed) || !passed && !errors.Is(err, c.err) {
				t.Errorf("accepted %d, then %v", accepted, err)
			}
		})
	}
}
