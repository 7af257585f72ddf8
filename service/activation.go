package service

import (
	"context"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"go.uber.org/zap"

	"ipmbd/ipmi/host"
)

// passed are the listening sockets that systemd has passed us, by their addresses
// as host.Listen takes them. They are systemd's: one whose host is removed stays
// open, and who connects meanwhile is served when the host is there again.
type passed map[string]socket

// socket is a listening socket that can be had twice.
type socket interface {
	net.Listener
	File() (*os.File, error)
}

// takeSockets takes the sockets that systemd has passed. What is none that can be
// listened on is closed.
func takeSockets(log *zap.Logger) passed {
	const unsetEnvironment = true
	return listeners(activation.Files(unsetEnvironment), log)
}

func listeners(files []*os.File, log *zap.Logger) passed {
	p := make(passed)
	for _, file := range files {
		listener, err := net.FileListener(file)
		file.Close()
		if err != nil {
			log.Warn("a descriptor from systemd is closed: it is no listening socket", zap.String("name", file.Name()), zap.Error(err))
			continue
		}
		address := listener.Addr().Network() + ":" + listener.Addr().String()
		if p[address] != nil {
			log.Warn("a socket from systemd is closed: there are two of it", zap.String("address", address))
			listener.Close()
			continue
		}
		p[address] = listener.(socket) // as all are that net.FileListener makes
	}
	return p
}

// listen is host.Listen, but at an address of systemd's socket it is that one.
func (p passed) listen(ctx context.Context, address string) (net.Listener, error) {
	own := p[address]
	if own == nil {
		return host.Listen(ctx, address)
	}
	file, err := own.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileListener(file)
}

// keep closes all but those of some addresses.
func (p passed) keep(addresses []string, log *zap.Logger) {
	for address, listener := range p {
		if !slices.Contains(addresses, address) {
			log.Warn("a socket from systemd is closed: no host is configured for it", zap.String("address", address))
			listener.Close()
			delete(p, address)
		}
	}
}

// close closes all.
func (p passed) close() {
	for _, listener := range p {
		listener.Close()
	}
}
