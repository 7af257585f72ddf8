package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/frames"
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

// A frame socket that cannot be opened at the start takes nothing else away. It is told of once,
// and is served within a minute when it can be opened.
func TestFrameSocketThatCannotBeOpened(t *testing.T) {
	for name, breaks := range map[string]func(t *testing.T, path string) (mend func()){
		"in use": func(t *testing.T, path string) func() {
			other := listenAt(t, path)
			return func() { other.Close() }
		},
		"no such folder": func(t *testing.T, path string) func() {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			return func() { os.Mkdir(filepath.Dir(path), 0o700) }
		},
		"a file in its place": func(t *testing.T, path string) func() {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(path) }
		},
		"a folder in its place": func(t *testing.T, path string) func() {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(path) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "frames")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			mend := breaks(t, path)
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				s := &service{log: zap.New(core), config: config.Config{FrameSocket: path}, sockets: new(passedSockets),
					server: new(dbusapi.Server), frames: frames.NewServer(frames.Config{})}
				if err := s.listenFrames(t.Context()); err != nil || s.frameListener != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var loop sync.WaitGroup
				loop.Go(func() { s.runFrames(ctx, path, nil) })
				time.Sleep(3*retryTime + time.Second)
				if all := s.Faults(); len(all) != 1 || !strings.HasPrefix(all[0], "frame-socket: ") || !strings.HasSuffix(s.status(), "; "+all[0]) {
					t.Errorf("faults %q, %s", all, s.status())
				}
				if logs.Len() != 1 {
					t.Errorf("%d lines in the log", logs.Len())
				}
				mend()
				time.Sleep(retryTime - time.Second) // The clock stops as soon as the socket is open.
				for s.Faults() != nil {
					runtime.Gosched()
				}
				client, err := net.Dial(seqpacket, path)
				if err != nil {
					t.Error(err)
				} else {
					client.Close()
				}
				cancel()
				loop.Wait()
				if strings.Contains(s.status(), "frame-socket") || logs.Len() != 2 {
					t.Errorf("%s, %d lines in the log", s.status(), logs.Len())
				}
			})
		})
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
