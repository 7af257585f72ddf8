package socket_test

import (
	"net"
	"os"
	"path/filepath"
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
