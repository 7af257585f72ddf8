package service

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

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
	p := listeners([]*os.File{file(net.Listen("unix", unixPath)), noSocket, file(tcp, nil), file(net.Listen("unix", other))}, zap.NewNop())
	for _, address := range []string{"unix:" + unixPath, tcpAddress} {
		listener := p.take(address)
		if listener == nil {
			t.Fatalf("no socket for %s", address)
		}
		listener.Close()
		if p.take(address) != nil {
			t.Errorf("%s twice", address)
		}
	}
	if len(p) != 1 {
		t.Errorf("left: %v", p)
	}
	p.close(zap.NewNop())
	if _, err := net.Dial("unix", other); err == nil {
		t.Error("a socket of nobody is open")
	}
	if _, err := os.Stat(unixPath); err != nil {
		t.Errorf("systemd's socket was removed: %v", err)
	}
}
