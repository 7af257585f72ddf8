package service

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTransportByTheKindOfFile(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		want       TransportKind
		err        string // part of it
	}{
		{"socket", socket, TransportSeqPacket, ""},
		{"character device", "/dev/null", TransportIPMBDev, ""},
		{"missing", filepath.Join(dir, "missing"), TransportAuto, "no such file"},
		{"plain file", plain, TransportAuto, "neither a character device nor a socket"},
		{"directory", dir, TransportAuto, "neither a character device nor a socket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := kindOf(test.path)
			if got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), test.path)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestOpenSaysWhichTransport(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, kind := range []TransportKind{TransportAuto, TransportSeqPacket} {
		transport, got, err := openChannel(ChannelConfig{SlavePath: socket, Transport: kind})()
		if err != nil || got != "seqpacket" {
			t.Fatalf("%v: %s %v", kind, got, err)
		}
		transport.Close()
	}
	if _, got, err := openChannel(ChannelConfig{SlavePath: socket, Transport: TransportIPMBDev})(); err == nil || got != "ipmb-dev" {
		t.Errorf("a socket as ipmb-dev: %s %v", got, err)
	}
}
