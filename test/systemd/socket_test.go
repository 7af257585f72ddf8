package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestFirstConnectionOfAMachineStartsTheService(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", vmSocket)
	if got := l.show(service, "ActiveState"); got != "inactive" {
		t.Fatalf("the service is %s", got)
	}
	took(t, "first connection to "+vmPath+" of a stopped service, answered", func() { l.boot(vmPath).asks() })
}

// A machine is connected, or connects, while the service restarts.
func TestRestartKeepsTheListeningSockets(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", vmSocket, service)
	before := l.identity(vmPath)
	connected := l.boot(vmPath)
	connected.asks()

	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		took(t, "systemctl restart with a machine connected", func() { l.run("systemctl", "restart", service) })
	}()
	connected.hangsUp()
	took(t, "from the end of its connection to the next answer", func() { l.comesAgain(vmPath) })
	<-restarted
	if after := l.identity(vmPath); after != before {
		t.Errorf("the socket was %s, and is %s", before, after)
	}

	l.run("systemctl", "stop", service)
	if after := l.identity(vmPath); after != before {
		t.Errorf("after a stop the socket is %s, and was %s", after, before)
	}
	l.boot(vmPath).asks()
}

// identity tells one socket from another at the same path.
func (l *lab) identity(path string) string {
	l.t.Helper()
	return l.run("stat", "-c", "%F, inode %i of %d, %A %U:%G", path)
}

func TestWhoMayConnect(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", vmSocket, frameSocket)
	for _, socket := range []struct{ path, want string }{
		{vmPath, "srw-rw---- root:ipmbd-vm"},
		{framePath, "srw-rw---- root:ipmbd"},
		{"/run/ipmbd", "drwxr-xr-x root:root"},
	} {
		if got := l.run("stat", "-c", "%A %U:%G", socket.path); got != socket.want {
			t.Errorf("%s: %s, want %s", socket.path, got, socket.want)
		}
	}
}

func TestServiceListensWhereNoSocketUnitDoes(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", service)
	if got := l.run("stat", "-c", "%A %U:%G", vmPath); got != "srwx------ root:root" {
		t.Errorf("its own socket: %s", got)
	}
	l.boot(vmPath).asks()
	l.run("systemctl", "stop", service)
	if _, err := os.Stat(l.path("/run/ipmbd")); err != nil {
		t.Errorf("the folder went with the service: %v", err)
	}
	// Now the unit takes over.
	l.run("systemctl", "start", vmSocket)
	l.boot(vmPath).asks()
}

// A socket without a host is kept for a host that is added later.
func TestSocketOfNoHost(t *testing.T) {
	const other = "/run/ipmbd/other.sock"
	l := startBoard(t)
	l.run("systemctl", "start", "ipmbd-vm@other.socket", vmSocket, service)
	l.logged("clients of a socket from systemd are disconnected: nothing is configured for it: address=unix:" + other)
	l.turnsAway(other)
	neighbour := l.boot(vmPath)
	neighbour.asks()
	if said := l.send(); said != answered {
		t.Error(said)
	}

	before := l.identity(other)
	l.write(configPath, strings.Replace(config, `"hosts": [`, `"hosts": [{"type": "vm", "name": "other", "devIndex": 1, "path": "unix:`+other+`"}, `, 1))
	l.run("systemctl", "reload", service)
	m := l.boot(other)
	m.asks()
	l.write(configPath, config)
	l.run("systemctl", "reload", service)
	m.hangsUp()
	l.turnsAway(other)
	l.run("ipmbctl", "add", `{"type": "vm", "name": "other", "devIndex": 1, "path": "unix:`+other+`"}`)
	l.boot(other).asks()
	if after := l.identity(other); after != before {
		t.Errorf("the socket was %s, and is %s", before, after)
	}
	neighbour.asks()
}

// turnsAway waits until the service disconnects clients of a socket.
func (l *lab) turnsAway(path string) {
	l.t.Helper()
	conn := l.knock(path)
	defer conn.Close()
	(&machine{l.t, conn}).hangsUp()
}

// The service has no network of its own; the socket is in the machine's.
func TestMachineConnectsByTCP(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	l := startBoard(t,
		dropIn(vmSocket, fmt.Sprintf("[Socket]\nListenStream=\nListenStream=%s\n", address)),
		files{configPath: strings.Replace(config, "unix:"+vmPath, "tcp:"+address, 1)})
	l.run("systemctl", "start", vmSocket)
	var conn net.Conn
	took(t, "first connection by TCP to a stopped service, answered", func() {
		if conn, err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		greet(t, conn).asks()
	})
}

func TestAllWaysOfStartingTogether(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			l.run("systemctl", "enable", "--quiet", service, frameSocket, vmSocket)
			l.run("systemctl", "start", service)
			for _, unit := range []string{service, frameSocket, vmSocket} {
				if got := l.show(unit, "ActiveState"); got != "active" {
					t.Errorf("%s is %s", unit, got)
				}
			}
			l.boot(vmPath).asks()
			if said := l.send(); said != answered {
				t.Error(said)
			}
			// A stop, and all ask at once.
			l.run("systemctl", "stop", service)
			asked := make(chan string)
			go func() { asked <- l.send() }()
			l.boot(vmPath).asks()
			if said := <-asked; said != answered {
				t.Error(said)
			}
			if got := l.show(service, "NRestarts"); got != "0" {
				t.Errorf("%s restarts", got)
			}
		})
	}
}
