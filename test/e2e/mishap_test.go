package e2e

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/i2c/sim"
)

// mishap is something that goes wrong around the daemon.
type mishap struct {
	name    string
	happens func(s *soak)
}

// mishaps are events that the daemon must survive.
var mishaps = []mishap{
	{"the host daemon dies", func(s *soak) {
		s.host.Kill()
		s.last(100 * time.Millisecond)
		s.startHost()
	}},
	{"a bus is gone for a while", func(s *soak) {
		n := s.anyNode()
		n.stop()
		s.last(200 * time.Millisecond)
		n.start(s.t)
	}},
	{"a bus hangs up", func(s *soak) { s.anyNode().hangUp() }},
	{"a bus loses, doubles, spoils and delays", func(s *soak) {
		s.node.breaks(&sim.Faults{
			Drop: 0.05, Duplicate: 0.05, Corrupt: 0.05, Delay: 0.05, DelayMin: 50 * time.Millisecond, DelayMax: 400 * time.Millisecond,
		})
		s.last(500 * time.Millisecond)
		s.node.breaks(nil)
	}},
	{"garbage on a bus", func(s *soak) {
		n := s.anyNode()
		for range 50 {
			n.write(s.noise(64))
		}
	}},
	{"garbage from a machine", func(s *soak) {
		if conn, err := net.Dial("unix", s.vm); err == nil {
			_, _ = conn.Write(s.noise(4096))
			conn.Close()
		}
	}},
	{"a program dies with 300 calls in flight", func(s *soak) {
		s.visit(func(c client) {
			for i := range uint64(300) {
				c.send("bus5", 0x2C, 0x30, 0, 0x20, tagged(i)...)
			}
		})
	}},
	{"a program has a thousand match rules", func(s *soak) {
		s.visit(func(c client) {
			for i := range 1000 {
				_ = c.AddMatchSignal(dbus.WithMatchMember(fmt.Sprint("Member", i)))
			}
		})
	}},
	{"a program sends a megabyte", func(s *soak) {
		s.visit(func(c client) {
			call := <-c.send("bus5", 0x2C, 0x30, 0, 0x21, make([]byte, 1<<20)...).Done
			if name := errorName(call.Err); name == "no error" {
				s.t.Errorf("a megabyte was sent")
			}
		})
	}},
	{"a client of the frame socket reads nothing", func(s *soak) {
		conn, err := net.Dial("unixpacket", s.frames)
		if err != nil {
			return
		}
		defer conn.Close()
		request := append([]byte{1}, packet{to: 0x2C, netFn: 0x30, from: 0x20, cmd: 0x22}.bytes()...)
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		for err == nil {
			_, err = conn.Write(request)
		}
	}},
	{"a client of the frame socket sends garbage", func(s *soak) {
		if conn, err := net.Dial("unixpacket", s.frames); err == nil {
			for range 50 {
				_, _ = conn.Write(append([]byte{1}, s.noise(300)...))
			}
			conn.Close()
		}
	}},
	{"a program dies with its handlers", func(s *soak) {
		s.visit(func(c client) {
			for i := range 64 {
				path := dbus.ObjectPath(fmt.Sprint("/handler", i))
				c.call(basePath, router+".RegisterHandler", path, []commands{command(0x32, byte(i))})
			}
		})
	}},
}

// changes are changes by root at the wrong moment.
var changes = []mishap{
	{"a bus is added and removed", func(s *soak) {
		s.visit(func(c client) {
			<-c.manager("AddBus", inJSON(s.t, channel(s.asking, object{"slave-path": "/nonexistent/ipmb-7", "devIndex": 3}))).Done
			<-c.manager("RemoveBus", busPath("bus7")).Done
		})
	}},
	{"the machine's interface is removed and added", func(s *soak) {
		s.visit(func(c client) {
			<-c.manager("RemoveHost", busPath("host0")).Done
			if err := (<-c.manager("AddHost", inJSON(s.t, s.vmConfig)).Done).Err; err != nil {
				s.t.Errorf("the machine's interface cannot be added again: %v", err)
			}
		})
	}},
	{"the file is read again", func(s *soak) {
		s.visit(func(c client) {
			if err := (<-c.manager("Reload").Done).Err; err != nil {
				s.t.Errorf("the file cannot be read again: %v", err)
			}
		})
	}},
	{"a file with faults is read", func(s *soak) {
		good, err := os.ReadFile(s.config)
		if err != nil {
			s.t.Fatal(err)
		}
		write := func(text []byte) {
			if err := os.WriteFile(s.config, text, 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
		write(append([]byte("nonsense"), good...))
		s.visit(func(c client) {
			if err := (<-c.manager("Reload").Done).Err; err == nil {
				s.t.Errorf("a file with faults was taken")
			}
		})
		write(good)
	}},
}

// disasters are events that end the daemon.
var disasters = []mishap{
	{"the daemon is killed", func(s *soak) {
		d := s.daemon.Load()
		d.signal(syscall.SIGKILL)
		d.exit(s.t)
		s.startDaemon()
	}},
	{"the daemon is stopped", func(s *soak) {
		s.daemon.Load().stopped(s.t)
		s.startDaemon()
	}},
	{"the message bus is restarted", func(s *soak) {
		s.bus.Restart(s.t)
		if code := s.daemon.Load().exit(s.t); code != 1 {
			s.t.Errorf("exit status %d without a message bus", code)
		}
		s.host.Kill()
		s.startHost()
		s.startDaemon()
	}},
}

func (s *soak) anyNode() *node {
	if s.chance.IntN(2) == 0 {
		return s.node
	}
	return s.asking
}

// visit does something on a connection of its own, which ends then.
func (s *soak) visit(do func(c client)) {
	conn, err := dbus.Connect(s.bus.Path())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	do(client{conn})
}

// breaks makes the bus one with faults, nil for none.
func (n *node) breaks(f *sim.Faults) {
	n.mu.Lock()
	n.faults = f
	n.mu.Unlock()
	n.hangUp()
}

// noise is up to n random bytes.
func (s *soak) noise(n int) []byte {
	b := make([]byte, s.chance.IntN(n))
	for i := range b {
		b[i] = byte(s.chance.Uint32())
	}
	return b
}
