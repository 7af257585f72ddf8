package service

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/host"
	"ipmbd/internal/fdtrace"
	unixsocket "ipmbd/internal/socket"
	"ipmbd/service/config"
)

// passedSockets are the listening sockets that systemd has passed us, once. The service keeps a
// socket open that no configured host uses, and disconnects its clients, until a host has its
// address.
type passedSockets struct {
	log     *zap.Logger
	sockets map[string]socket // by their addresses as host.Listen takes them

	mu       sync.Mutex
	refusals map[string]func() // end the refusal of sockets that no host is configured for
}

// socket is a listening socket that can be had twice.
type socket interface {
	net.Listener
	File() (*os.File, error)
}

// takeSockets takes systemd's sockets, and closes other descriptors.
func takeSockets(files []*os.File, log *zap.Logger) *passedSockets {
	p := &passedSockets{log: log, sockets: make(map[string]socket), refusals: make(map[string]func())}
	for _, file := range files {
		listener, err := net.FileListener(file)
		file.Close()
		if err != nil {
			log.Warn("a descriptor from systemd is closed: it is no listening socket",
				zap.String("name", file.Name()), zap.Error(err))
			continue
		}
		fdtrace.OpenedFile(listener)
		address := listener.Addr().Network() + ":" + listener.Addr().String()
		if p.has(address) {
			log.Warn("a socket from systemd is closed: another one has its address", zap.String("address", address))
			listener.Close()
			continue
		}
		p.sockets[address] = listener.(socket) // as all are that net.FileListener makes
	}
	return p
}

// has reports whether there is a socket of an address.
func (p *passedSockets) has(address string) bool { return p.sockets[address] != nil }

// listen is host.Listen, but at an address of systemd's socket it is that one.
func (p *passedSockets) listen(ctx context.Context, address string) (net.Listener, error) {
	if !p.has(address) {
		return host.Listen(ctx, address)
	}
	p.admit(address)
	return duplicate(p.sockets[address])
}

// duplicate returns a copy of a socket, which must be closed separately.
func duplicate(s socket) (net.Listener, error) {
	file, err := s.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	if err == nil {
		fdtrace.OpenedFile(listener)
	}
	return listener, err
}

// refuseOthers disconnects from now on the clients of all sockets except those at the addresses.
func (p *passedSockets) refuseOthers(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, own := range p.sockets {
		if p.refusals[address] != nil || slices.Contains(addresses, address) {
			continue
		}
		listener, err := duplicate(own)
		if err != nil {
			p.log.Warn("clients of a socket from systemd wait: nothing is configured for it",
				zap.String("address", address), zap.Error(err))
			continue
		}
		p.log.Warn("clients of a socket from systemd are disconnected: nothing is configured for it",
			zap.String("address", address))
		p.refusals[address] = refuse(listener)
	}
}

// admit ends the refusal at an address, if there is one.
func (p *passedSockets) admit(address string) {
	p.mu.Lock()
	end := p.refusals[address]
	delete(p.refusals, address)
	p.mu.Unlock()
	if end != nil {
		end()
	}
}

// close closes all.
func (p *passedSockets) close() {
	for address, listener := range p.sockets {
		p.admit(address)
		listener.Close()
	}
}

// refusalPause is the time between disconnects: clients that try again cost next to nothing.
const refusalPause = 100 * time.Millisecond

// refuse disconnects the clients of a socket, one after the other, until end has returned.
func refuse(listener net.Listener) (end func()) {
	over := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		_ = unixsocket.Accept(over, listener, func(conn net.Conn) {
			conn.Close()
			select {
			case <-over:
			case <-time.After(refusalPause):
			}
		})
	})
	return func() {
		close(over)
		listener.Close()
		ended.Wait()
	}
}

// refuseOthers disconnects the clients of systemd's sockets that nothing is configured for.
func (s *service) refuseOthers() {
	addresses := []string{frameAddress(s.config.FrameSocket)}
	for _, e := range s.endpoints.all() {
		if !e.isBus {
			addresses = append(addresses, e.hostInterface.config.Path)
		}
	}
	s.sockets.refuseOthers(addresses)
}

// seqpacket is package net's name of SOCK_SEQPACKET.
const seqpacket = "unixpacket"

// logDisconnect logs that a client of the frame socket was disconnected. The socket is an
// interface in the log, so that clients that come again and again are one line in a second.
func (s *service) logDisconnect(client bus.Process, why error) {
	s.log.Warn("a client was disconnected", zap.String("interface", "frame-socket"),
		zap.Int32("pid", client.PID), zap.Uint32("uid", client.UID), zap.Error(why))
}

// frameAddress is the address of the frame socket, by its path, among the sockets that systemd
// passes.
func frameAddress(path string) string {
	return seqpacket + ":" + cmp.Or(path, config.DefaultFrameSocket)
}

const frameKey = "frame-socket"

// listenFrames opens the frame socket, of systemd or of the configuration, if there is one. Without
// it buses and host interfaces are served, and runFrames tries again. Only a path that can never be
// a socket is an error.
func (s *service) listenFrames(ctx context.Context) error {
	listener, err := s.openFrames(ctx, s.config.FrameSocket)
	switch {
	case errors.Is(err, unix.ENOTDIR), isOutsideSandbox(s.config.FrameSocket, err):
		return explainPath(frameKey, s.config.FrameSocket, err)
	case err != nil:
		s.log.Error("the frame socket cannot be opened; it is tried again each minute", zap.Error(err))
		s.setFault(frameKey, err.Error())
	}
	s.frameListener = listener
	return nil
}

func (s *service) openFrames(ctx context.Context, path string) (*net.UnixListener, error) {
	var listener net.Listener
	var err error
	switch address := frameAddress(path); {
	case s.sockets.has(address):
		listener, err = s.sockets.listen(ctx, address)
	case path != "":
		listener, err = unixsocket.Listen(ctx, seqpacket, path)
	}
	if err != nil || listener == nil {
		return nil, err
	}
	return listener.(*net.UnixListener), nil
}

// runFrames serves the frame socket until ctx ends, as soon as it can be opened if listener is nil.
func (s *service) runFrames(ctx context.Context, path string, listener *net.UnixListener) {
	for listener == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryTime):
		}
		var err error
		if listener, err = s.openFrames(ctx, path); err == nil {
			s.log.Info("the frame socket is open now")
			s.setFault(frameKey, "")
		}
	}
	s.frames.Run(ctx, listener)
}

// closeFrames closes the frame socket of a start that did not end well.
func (s *service) closeFrames() {
	if s.frameListener != nil {
		s.frameListener.Close()
	}
}
