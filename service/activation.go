package service

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
	"go.uber.org/zap"

	"ipmbd/host"
)

// passed are the listening sockets that systemd has passed us. They are systemd's,
// who would not give them again while we run: one that is nobody's stays open, and
// who connects there is hung up on until a host has its address.
type passed struct {
	log     *zap.Logger
	sockets map[string]socket // by their addresses as host.Listen takes them

	mu       sync.Mutex
	refusals map[string]*refusal // of those that are nobody's
}

// socket is a listening socket that can be had twice.
type socket interface {
	net.Listener
	File() (*os.File, error)
}

// takeSockets takes the sockets that systemd has passed. What is none that can be
// listened on is closed.
func takeSockets(log *zap.Logger) *passed {
	const unsetEnvironment = true
	return listeners(activation.Files(unsetEnvironment), log)
}

func listeners(files []*os.File, log *zap.Logger) *passed {
	p := &passed{log: log, sockets: make(map[string]socket), refusals: make(map[string]*refusal)}
	for _, file := range files {
		listener, err := net.FileListener(file)
		file.Close()
		if err != nil {
			log.Warn("a descriptor from systemd is closed: it is no listening socket", zap.String("name", file.Name()), zap.Error(err))
			continue
		}
		address := listener.Addr().Network() + ":" + listener.Addr().String()
		if p.has(address) {
			log.Warn("a socket from systemd is closed: there are two of it", zap.String("address", address))
			listener.Close()
			continue
		}
		p.sockets[address] = listener.(socket) // as all are that net.FileListener makes
	}
	return p
}

// has reports whether there is a socket of an address.
func (p *passed) has(address string) bool { return p.sockets[address] != nil }

// listen is host.Listen, but at an address of systemd's socket it is that one.
func (p *passed) listen(ctx context.Context, address string) (net.Listener, error) {
	if !p.has(address) {
		return host.Listen(ctx, address)
	}
	p.admit(address)
	return again(p.sockets[address])
}

// again is a socket once more, to be closed by itself.
func again(s socket) (net.Listener, error) {
	file, err := s.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileListener(file)
}

// attend says whose sockets are somebody's, by their addresses: at all others who
// connects is hung up on from now on.
func (p *passed) attend(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, own := range p.sockets {
		if p.refusals[address] != nil || slices.Contains(addresses, address) {
			continue
		}
		listener, err := again(own)
		if err != nil {
			p.log.Warn("who connects to a socket from systemd waits: nothing is configured for it", zap.String("address", address), zap.Error(err))
			continue
		}
		p.log.Warn("who connects to a socket from systemd is hung up on: nothing is configured for it", zap.String("address", address))
		p.refusals[address] = refuse(listener)
	}
}

// admit ends the refusal at an address, if there is one.
func (p *passed) admit(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.refusals[address]; r != nil {
		r.end()
		delete(p.refusals, address)
	}
}

// close closes all.
func (p *passed) close() {
	for address, listener := range p.sockets {
		p.admit(address)
		listener.Close()
	}
}
