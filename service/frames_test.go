package service

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

// listenAt makes a socket as systemd does.
func listenAt(t *testing.T, path string) net.Listener {
	t.Helper()
	listener, err := net.Listen(seqpacket, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestWhichFrameSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "frames")
	theirs := listenAt(t, filepath.Join(t.TempDir(), "theirs"))
	tests := []struct {
		name     string
		key      string
		passed   passed
		want     string // address of the socket, "" for none
		notTaken int
	}{
		{"none", "", passed{}, "", 0},
		{"systemd's, without a key", "", passed{"unixpacket:" + DefaultFrameSocket: theirs}, theirs.Addr().String(), 0},
		{"systemd's, of the key", path, passed{"unixpacket:" + path: theirs}, theirs.Addr().String(), 0},
		{"another one of systemd's", "", passed{"unixpacket:/run/other": theirs}, "", 1},
		{"a stream socket at the path", "", passed{"unix:" + DefaultFrameSocket: theirs}, "", 1},
		{"the key's", path, passed{"unixpacket:" + DefaultFrameSocket: theirs}, path, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &service{log: zap.NewNop(), config: Config{FrameSocket: tt.key}}
			if err := s.listenFrames(t.Context(), tt.passed); err != nil {
				t.Fatal(err)
			}
			got := ""
			if s.frameListener != nil {
				got = s.frameListener.Addr().String()
			}
			if got != tt.want || len(tt.passed) != tt.notTaken {
				t.Errorf("socket %q, want %q; not taken: %v", got, tt.want, tt.passed)
			}
			if got == path {
				s.closeFrames()
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
		s := &service{log: zap.NewNop(), config: Config{FrameSocket: path}}
		if err := s.listenFrames(t.Context(), passed{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
