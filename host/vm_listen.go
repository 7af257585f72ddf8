package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"ipmbd/internal/socket"
)

// Listen listens for connections from QEMU at an address: "unix:/PATH", or "tcp:HOST:PORT" on a
// loopback address, since every client is taken for the machine. It replaces a Unix socket on
// which no process listens any more.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	network, name, err := ParseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", address, err)
	}
	if network == "unix" {
		return socket.Listen(ctx, network, name)
	}
	var config net.ListenConfig
	return config.Listen(ctx, network, name)
}

// ParseAddress splits an address of Listen. Its error says what the address must be.
func ParseAddress(address string) (network, name string, err error) {
	network, name, _ = strings.Cut(address, ":")
	switch network {
	case "unix":
		if !strings.HasPrefix(name, "/") {
			return "", "", errors.New("must have an absolute path, as in unix:/run/ipmbd/host0.sock")
		}
	case "tcp":
		where, _, err := net.SplitHostPort(name)
		if ip := net.ParseIP(where); err != nil || ip == nil || !ip.IsLoopback() {
			return "", "", errors.New("must have a loopback address and a port, as in tcp:127.0.0.1:9002")
		}
	default:
		return "", "", errors.New("must be unix:PATH or tcp:HOST:PORT")
	}
	return network, name, nil
}

// VM is the system interface of a virtual machine that connects to a socket. QEMU connects again
// after a restart, its own or ours.
type VM struct {
	loop     *Loop
	happened func(VMEvent)
}

// VMEvent is something that happens to a virtual machine.
type VMEvent uint8

// Events of a virtual machine.
const (
	VMConnected VMEvent = iota
	VMWasReset          // by us, its user or itself; it stays connected
	VMGone
)

// NewVM makes the interface of a machine. It calls happened with each event of the machine, in
// order, and with a reset before it handles the machine's next request. happened may be nil.
func NewVM(config Config, happened func(VMEvent)) *VM {
	if happened == nil {
		happened = func(VMEvent) {}
	}
	return &VM{NewLoop(config), happened}
}

// Loop returns the loop that serves the machine.
func (v *VM) Loop() *Loop { return v.loop }

// Run serves the machine on one connection after the other until ctx ends or the listener fails,
// closes the listener and returns the cause. It waits while descriptors or memory are short. It
// closes a second connection beside the machine's.
func (v *VM) Run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	conns := make(chan net.Conn)
	var loops sync.WaitGroup
	loops.Go(func() {
		<-ctx.Done()
		listener.Close()
	})
	loops.Go(func() {
		cancel(socket.Accept(ctx.Done(), listener, func(conn net.Conn) { handOver(ctx, conn, conns) }))
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case conn := <-conns:
			v.serveConn(ctx, conn)
		}
	}
	loops.Wait()
	return context.Cause(ctx)
}

// handOverTimeout is how long a connection waits for the end of the one before it: a QEMU that has
// restarted may connect before that end.
const handOverTimeout = 500 * time.Millisecond

// handOver hands a connection to Run, or closes it if Run does not take it in time.
func handOver(ctx context.Context, conn net.Conn, conns chan<- net.Conn) {
	select {
	case conns <- conn:
	case <-ctx.Done():
		conn.Close()
	case <-time.After(handOverTimeout):
		conn.Close()
	}
}

// serveConn serves the machine on one connection until that ends.
func (v *VM) serveConn(ctx context.Context, conn net.Conn) {
	port, err := NewVMPort(conn)
	if err != nil {
		return // The connection is closed, and QEMU connects again.
	}
	port.onReset = func() { v.happened(VMWasReset) }
	v.happened(VMConnected)
	_ = v.loop.Run(ctx, port)
	v.happened(VMGone)
}

// Act does something to the machine. It returns ErrUnsupported if no machine is connected before
// ctx ends, or if QEMU has not said that it can do this.
func (v *VM) Act(ctx context.Context, a VMAction) error {
	return v.loop.Do(ctx, func(p Port) error {
		vm, ok := p.(*VMPort)
		if !ok {
			return ErrUnsupported
		}
		return vm.Act(a)
	})
}
