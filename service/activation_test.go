package service

import (
	"net"
	"os"
	"path/filepath"
	"strings"
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
	own := []string{"unix:" + unixPath, tcpAddress}
	p.keep(own, zap.NewNop())
	if _, err := net.Dial("unix", other); err == nil {
		t.Error("a socket of nobody is open")
	}
	for _, address := range own {
		for range 2 { // a host that is removed and comes again
			listener, err := p.listen(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			network, name, _ := strings.Cut(address, ":")
			conn, err := net.Dial(network, name)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if conn, err = listener.Accept(); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			listener.Close()
		}
		network, name, _ := strings.Cut(address, ":")
		conn, err := net.Dial(network, name)
		if err != nil {
			t.Errorf("without a host: %v", err)
			continue
		}
		conn.Close()
	}
	p.close()
	if _, err := net.Dial("unix", unixPath); err == nil {
		t.Error("open at the end")
	}
	if _, err := os.Stat(unixPath); err != nil {
		t.Errorf("systemd's socket was removed: %v", err)
	}
}
