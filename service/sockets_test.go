package service

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// knock connects to an address as host.Listen takes them.
func knock(t *testing.T, address string) net.Conn {
	t.Helper()
	network, name, _ := strings.Cut(address, ":")
	conn, err := net.Dial(network, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// hungUp connects, and waits until the other side has hung up.
func hungUp(t *testing.T, address string) {
	t.Helper()
	if n, err := knock(t, address).Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("%s: heard %d bytes, %v", address, n, err)
	}
}

func TestSocketsOfSystemdAreKnownByTheirAddresses(t *testing.T) {
	file := func(l net.Listener, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	dir := t.TempDir()
	unixPath, other := filepath.Join(dir, "host0"), filepath.Join(dir, "other")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcpAddress := "tcp:" + tcp.Addr().String()
	noSocket, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	p := takeSockets([]*os.File{file(net.Listen("unix", unixPath)), noSocket, file(tcp, nil), file(net.Listen("unix", other))}, zap.NewNop())
	for _, address := range []string{"unix:" + unixPath, tcpAddress} {
		for range 2 { // a host that is removed and comes again
			p.refuseOthers([]string{"unix:" + unixPath, tcpAddress})
			listener, err := p.listen(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			knock(t, address)
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			listener.Close()
			p.refuseOthers(nil)
			hungUp(t, address)
		}
	}
	p.refuseOthers(nil) // twice is as once
	for range 3 {
		hungUp(t, "unix:"+other)
	}
	p.close()
	if _, err := net.Dial("unix", unixPath); err == nil {
		t.Error("open at the end")
	}
	if _, err := os.Stat(unixPath); err != nil {
		t.Errorf("systemd's socket was removed: %v", err)
	}
}
