package service

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/bus"
	"ipmbd/service/config"
)

// listenAt makes a socket as systemd does.
func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	listener, err := net.Listen(seqpacket, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.(*net.UnixListener)
}

func TestWhichFrameSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "frames")
	theirs := listenAt(t, filepath.Join(t.TempDir(), "theirs"))
	tests := []struct {
		name   string
		key    string
		passed map[string]socket
		want   string // address of the socket, "" for none
	}{
		{"none", "", map[string]socket{}, ""},
		{"systemd's, without a key", "", map[string]socket{"unixpacket:" + config.DefaultFrameSocket: theirs}, theirs.Addr().String()},
		{"systemd's, of the key", path, map[string]socket{"unixpacket:" + path: theirs}, theirs.Addr().String()},
		{"another one of systemd's", "", map[string]socket{"unixpacket:/run/other": theirs}, ""},
		{"a stream socket at the path", "", map[string]socket{"unix:" + config.DefaultFrameSocket: theirs}, ""},
		{"the key's", path, map[string]socket{"unixpacket:" + config.DefaultFrameSocket: theirs}, path},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &service{log: zap.NewNop(), config: config.Config{FrameSocket: tt.key}, sockets: &passedSockets{sockets: tt.passed}}
			if err := s.listenFrames(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := ""
			if s.frameListener != nil {
				got = s.frameListener.Addr().String()
			}
			if got != tt.want {
				t.Errorf("socket %q, want %q", got, tt.want)
			}
			s.closeFrames()
			if got == path {
				if _, err := os.Stat(path); err == nil {
					t.Error("the socket is left")
				}
			}
		})
	}
}

func TestFrameSocketThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "frames")
	listenAt(t, path)
	for name, path := range map[string]string{"in use": path, "no such folder": "/nonexistent/frames"} {
		s := &service{log: zap.NewNop(), config: config.Config{FrameSocket: path}, sockets: new(passedSockets)}
		if err := s.listenFrames(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestDisconnectedClientsAreOfAnInterface: the log holds back lines that come again and again only
// if they name a bus, a host or an interface.
func TestDisconnectedClientsAreOfAnInterface(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s := &service{log: zap.New(core)}
	s.logDisconnect(bus.Process{PID: 7, UID: 8}, os.ErrInvalid)
	for _, e := range logs.All() {
		if got := e.ContextMap(); got["interface"] != "frame-socket" || got["pid"] != int32(7) || got["uid"] != uint32(8) {
			t.Errorf("logged %q %v", e.Message, got)
		}
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines", logs.Len())
	}
}
