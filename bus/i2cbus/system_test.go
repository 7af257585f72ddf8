package i2cbus

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipmbd/i2c"
)

// files are a socket and a plain file.
func files(t *testing.T) (socket, plain string) {
	t.Helper()
	dir := t.TempDir()
	socket, plain = filepath.Join(dir, "socket"), filepath.Join(dir, "plain")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return socket, plain
}

func TestTransportIsOpenedByItsKind(t *testing.T) {
	socket, plain := files(t)
	missing := filepath.Join(t.TempDir(), "missing")
	attribute := filepath.Join(t.TempDir(), "4-1010", "slave-mqueue")
	tests := []struct {
		name string
		kind string
		path string
		want string // kind
		err  string // part of it, "" for none
	}{
		{"socket", i2c.Seqpacket, socket, "seqpacket", ""},
		{"socket, found out", Auto, socket, "seqpacket", ""},
		{"socket as ipmb-dev", i2c.IPMBDev, socket, "ipmb-dev", socket},
		{"socket as ipmb-device", i2c.IPMBDevice, socket, "ipmb-device", socket},
		{"no attribute", i2c.SlaveMqueue, attribute, "slave-mqueue", "/dev/i2c-4"},
		{"plain file", Auto, plain, "auto", "not a character device"},
		{"missing", Auto, missing, "auto", "no such file"},
		{"driver that is not known", Auto, "/dev/null", "auto", "say with the key transport"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			transport, kind, err := thisSystem(Config{Transport: test.kind, Unknown: Auto}).open(test.path, i2c.Switches{})
			if kind != test.want {
				t.Errorf("kind %s, want %s", kind, test.want)
			}
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want %q", err, test.err)
			}
			if err == nil {
				transport.Close()
			}
		})
	}
	if _, _, err := thisSystem(Config{Transport: Auto, Unknown: Auto}).open(missing, i2c.Switches{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing device is %v", err)
	}
}

func TestWatchOfThisSystem(t *testing.T) {
	w, err := thisSystem(Config{Transport: Auto, Unknown: Auto}).look(filepath.Join(t.TempDir(), "ipmb-4"))()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(ended()); err == nil {
		t.Error("something came")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnknownDriverOfBridgesFileIsIPMBDev(t *testing.T) {
	_, kind, err := thisSystem(Config{Transport: Auto, Unknown: i2c.IPMBDev}).open("/dev/null", i2c.Switches{})
	if kind != "ipmb-dev" || err == nil || strings.Contains(err.Error(), "key transport") {
		t.Errorf("/dev/null: %s, %v", kind, err)
	}
}
