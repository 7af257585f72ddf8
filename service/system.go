package service

import (
	"context"
	"errors"
	"fmt"

	"ipmbd/i2c"
	"ipmbd/service/config"
)

// system is what a bus needs of the machine it runs on: thisSystem, or what a
// test or the demonstration puts in its place.
type system struct {
	// open opens the transport at a path and says which kind it is, in the
	// words of the configuration, "auto" when that did not show.
	open func(path string, switches i2c.Switches) (t i2c.Transport, kind string, err error)
	// watch, bind, unbind and bindingOf are as in package i2c.
	watch     func(path string) (watch, error)
	bind      func(ctx context.Context, b i2c.Binding) error
	unbind    func(b i2c.Binding) error
	bindingOf func(path string) (i2c.Binding, error)
}

// watch is what is needed of an i2c.Watch.
type watch interface {
	Wait(ctx context.Context) error
	Close() error
}

// thisSystem opens transports of a kind. A character device whose driver is not
// known is one of unknown; config.TransportAuto refuses it.
func thisSystem(kind, unknown config.TransportKind) system {
	return system{
		open: func(path string, switches i2c.Switches) (i2c.Transport, string, error) {
			return openTransport(kind, unknown, path, switches)
		},
		watch:     func(path string) (watch, error) { return i2c.OpenWatch(path) },
		bind:      i2c.Bind,
		unbind:    i2c.Unbind,
		bindingOf: i2c.BindingOf,
	}
}

// openTransport opens a transport. config.TransportAuto is decided by what is at the
// path now.
func openTransport(kind, unknown config.TransportKind, path string, switches i2c.Switches) (i2c.Transport, string, error) {
	name := kind.String()
	if kind == config.TransportAuto {
		detected, err := i2c.Detect(path)
		switch {
		case err == nil:
			name = detected
		case !errors.Is(err, i2c.ErrUnknownDriver):
			return nil, name, err
		case unknown == config.TransportAuto:
			return nil, name, fmt.Errorf("%w: say with the key transport which one it is", err)
		default:
			name = unknown.String()
		}
	}
	t, err := openNamed(name, path, switches)
	return t, name, err
}

func openNamed(name, path string, switches i2c.Switches) (i2c.Transport, error) {
	switch name {
	case i2c.IPMBDevice:
		return i2c.OpenIPMBDevice(path, switches)
	case i2c.SlaveMqueue:
		return i2c.OpenSlaveMqueue(path)
	case i2c.Seqpacket:
		return i2c.OpenSeqpacket(path)
	}
	return i2c.OpenIPMBDev(path)
}
