package service

import (
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"go.uber.org/zap"
)

// passed are the listening sockets that systemd has passed us, by network and
// address, as host.Listen takes them: "unix:/PATH".
type passed map[string]net.Listener

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
		p[address] = listener
	}
	return p
}

// take is the socket of an address, nil when there is none.
func (p passed) take(address string) net.Listener {
	listener := p[address]
	delete(p, address)
	return listener
}

// close closes what nobody has taken.
func (p passed) close(log *zap.Logger) {
	for address, listener := range p {
		log.Warn("a socket from systemd is closed: nothing is configured for it", zap.String("address", address))
		listener.Close()
	}
}
