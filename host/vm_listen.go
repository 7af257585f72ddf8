package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"ipmbd/internal/socket"
)

// Listen listens where QEMU is to connect: "unix:/PATH", or "tcp:HOST:PORT" on a
// loopback address, since whoever connects is believed to be the machine. A
// socket that nobody listens on any more is replaced.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	network, name, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return socket.Listen(ctx, network, name)
	}
	var config net.ListenConfig
	return config.Listen(ctx, network, name)
}

// ParseAddress splits what Listen takes.
func ParseAddress(address string) (network, name string, err error) {
	network, name, _ = strings.Cut(address, ":")
	switch network {
	case "unix":
		if !strings.HasPrefix(name, "/") {
			return "", "", fmt.Errorf("%q: the path must be absolute, as in unix:/run/ipmbd/host0.sock", address)
		}
	case "tcp":
		where, _, err := net.SplitHostPort(name)
		if ip := net.ParseIP(where); err != nil || ip == nil || !ip.IsLoopback() {
			return "", "", fmt.Errorf("%q: it must be a loopback address and a port, as in tcp:127.0.0.1:9002", address)
		}
	default:
		return "", "", fmt.Errorf("%q: neither unix: nor tcp: begins it", address)
	}
	return network, name, nil
}

// VM is the system interface of a virtual machine, whose connections come to a
// socket. QEMU connects again when it was restarted, or we were.
type VM struct {
	loop     *Loop
	happened func(VMEvent)
}

// VMEvent is what happens to a virtual machine.
type VMEvent uint8

// What happens to a virtual machine.
const (
	VMConnected VMEvent = iota
	VMWasReset          // by us, its user or itself; it stays connected
	VMGone
)

// NewVM makes the interface of a machine. happened is told what happens to it, in
// order, and of a reset before what the machine asks next is handled; nil for
// nobody.
func NewVM(config Config, happened func(VMEvent)) *VM {
	if happened == nil {
		happened = func(VMEvent) {}
	}
	return &VM{NewLoop(config), happened}
}

// Loop is what serves the machine.
func (v *VM) Loop() *Loop { return v.loop }

// Run serves the machine on one connection after the other until ctx ends or the
// listener fails, closes the listener and returns the cause. A want of descriptors
// or of memory is waited for. Who connects beside the machine is hung up on.
func (v *VM) Run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	conns := make(chan net.Conn)
	var loops sync.WaitGroup
	loops.Go(func() {
		<-ctx.Done()
		listener.Close()
	})
	loops.Go(func() { cancel(accept(ctx, listener, conns)) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case conn := <-conns:
			v.serve(ctx, conn)
		}
	}
	loops.Wait()
	return context.Cause(ctx)
}

// serve serves the machine on one connection until that ends.
func (v *VM) serve(ctx context.Context, conn net.Conn) {
	port, err := NewVMPort(conn)
	if err != nil {
		return // It was hung up on, and connects again.
	}
	port.reset = func() { v.happened(VMWasReset) }
	v.happened(VMConnected)
	_ = v.loop.Run(ctx, port)
	v.happened(VMGone)
}

// handOver is how long a connection waits for the one before it to end: QEMU that
// was started anew may be faster than the end of its predecessor.
const handOver = 500 * time.Millisecond

// acceptPause is the time after an accept that has failed for the moment.
const acceptPause = 100 * time.Millisecond

// accept hands on connections to who takes one, and ends those that nobody takes.
func accept(ctx context.Context, listener net.Listener, conns chan<- net.Conn) error {
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
		case isPassing(err):
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		default:
			return err
		}
		select {
		case conns <- conn:
		case <-ctx.Done():
			conn.Close()
		case <-time.After(handOver):
			conn.Close()
		}
	}
}

// passing are the errors of accept(2) that tell of a lack, or of who connected, and
// not of the listener.
var passing = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	syscall.EPERM, syscall.EPROTO, // whoever connected was turned away, or was gone
}

func isPassing(err error) bool {
	return slices.ContainsFunc(passing, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// Act does something to the machine. ErrUnsupported: none is connected before
// ctx ends, or QEMU has not said that it can.
func (v *VM) Act(ctx context.Context, a VMAction) error {
	return v.loop.Do(ctx, func(p Port) error {
		vm, ok := p.(*VMPort)
		if !ok {
			return ErrUnsupported
		}
		return vm.Act(a)
	})
}
