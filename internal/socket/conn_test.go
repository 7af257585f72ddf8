package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

// pair is a Conn and its peer.
func pair(t *testing.T) (*socket.Conn, *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ours, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := socket.NewConn(ours.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = theirs.Close()
	})
	return conn, theirs.(*net.UnixConn)
}

func TestConnReadsWhatComes(t *testing.T) {
	conn, peer := pair(t)
	go func() {
		for i := range 1000 {
			_, _ = peer.Write([]byte{byte(i), byte(i >> 8)})
		}
		_ = peer.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || len(got) != 2000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range 1000 {
		if got[2*i] != byte(i) || got[2*i+1] != byte(i>>8) {
			t.Fatalf("message %d is % X", i, got[2*i:2*i+2])
		}
	}
}

func TestConnWritesWhenThereIsRoom(t *testing.T) {
	conn, peer := pair(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	written := make(chan error, 1)
	go func() {
		rest := want
		var err error
		failed := conn.WriteWhenReady(func(fd uintptr) bool {
			for len(rest) > 0 {
				var n int
				if n, err = unix.Write(int(fd), rest); err == unix.EAGAIN {
					return false
				}
				if err != nil {
					return true
				}
				rest = rest[n:]
			}
			return true
		})
		_ = conn.Close()
		written <- errors.Join(failed, err)
	}()
	got, err := io.ReadAll(peer)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestCloseWakesReaderAndWriter(t *testing.T) {
	conn, _ := pair(t)
	ended := make(chan error, 2)
	full := make(chan struct{})
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	go func() {
		first := true
		ended <- conn.WriteWhenReady(func(fd uintptr) bool {
			for {
				if _, err := unix.Write(int(fd), make([]byte, 1<<16)); err != nil {
					break
				}
			}
			if first {
				first = false
				close(full)
			}
			return false
		})
	}()
	<-full
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if err := conn.Control(func(uintptr) { t.Error("a descriptor of a closed connection") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("control: %v", err)
	}
}

func TestPeerThatGoesEndsTheReader(t *testing.T) {
	conn, peer := pair(t)
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	_ = peer.Close()
	if err := <-ended; err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("ended with %v", err)
	}
}

// No descriptor is left of connections that are closed.
func TestConnLeavesNoDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for range 50 {
		conn, peer := pair(t)
		_ = conn.Close()
		_ = peer.Close()
	}
	if after := count(); after > before+5 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
