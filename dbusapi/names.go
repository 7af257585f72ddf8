package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/godbus/dbus/v5"
)

// ServiceName is the bus name of the service.
const ServiceName = channelNames + mainChannel

const (
	// channelNames begins the names by which the host IPMI daemon finds a
	// channel.
	channelNames = "xyz.openbmc_project.Ipmi.Channel."
	mainChannel  = "Ipmb"
)

// names is the connections of a server by the bus name that each owns. The host
// daemon takes a connection for one channel only, so that each name needs its own.
type names struct {
	address string
	lost    chan struct{} // closed when a connection is lost or closed
	once    sync.Once

	mu      sync.Mutex
	hosts   map[string]*HostDaemon
	unwatch map[string]func() bool
}

func newNames(address string) *names {
	return &names{
		address: address,
		lost:    make(chan struct{}),
		hosts:   make(map[string]*HostDaemon),
		unwatch: make(map[string]func() bool),
	}
}

// add keeps a connection for a name and watches it, unless the name has one.
func (n *names) add(name string, conn *Conn) (*HostDaemon, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host := n.hosts[name]; host != nil {
		return host, false
	}
	host := NewHostDaemon(conn)
	n.hosts[name] = host
	n.unwatch[name] = context.AfterFunc(conn.Context(), func() { n.once.Do(func() { close(n.lost) }) })
	return host, true
}

// remove closes the connection of a name, which is no loss.
func (n *names) remove(name string, conn *Conn) {
	if n.forget(name, conn) {
		_ = conn.Close()
	}
}

func (n *names) forget(name string, conn *Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host := n.hosts[name]; host == nil || host.conn != conn {
		return false
	}
	n.unwatch[name]()
	delete(n.unwatch, name)
	delete(n.hosts, name)
	return true
}

func (n *names) host(name string) *HostDaemon {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[name]
}

// HostDaemon is the handler that gives requests to the host IPMI daemon, for
// all buses of one bus-name. A name other than the service's own gets its own
// connection; TakeNames takes the name.
func (s *Server) HostDaemon(ctx context.Context, busName string) (*HostDaemon, error) {
	if !isNameElement(busName) {
		return nil, fmt.Errorf("bus-name %q: it cannot be the last word of a D-Bus name", busName)
	}
	name := channelNames + busName
	if host := s.names.host(name); host != nil {
		return host, nil
	}
	conn, err := Dial(ctx, ConnConfig{Address: s.names.address})
	if err != nil {
		return nil, err
	}
	host, added := s.names.add(name, conn)
	if !added {
		_ = conn.Close()
	}
	return host, nil
}

// isNameElement: D-Bus specification, "Bus names".
func isNameElement(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(channelNames)+len(s) <= 255
}

// TakeNames takes all names of the service. One that is taken already is
// ErrNameTaken: two instances must not share the buses.
func (s *Server) TakeNames(ctx context.Context) error {
	return s.names.each(func(conn *Conn, name string) error { return takeName(ctx, conn, name) })
}

// ReleaseNames gives the names back, so that new clients find nobody while the
// last calls end.
func (s *Server) ReleaseNames(ctx context.Context) error {
	return s.names.each(func(conn *Conn, name string) error {
		_, err := conn.callBus(ctx, "ReleaseName", name)
		return err
	})
}

// each calls f for each name and its connection, until an error.
func (n *names) each(f func(*Conn, string) error) error {
	n.mu.Lock()
	hosts := maps.Clone(n.hosts)
	n.mu.Unlock()
	for name, host := range hosts {
		if err := f(host.conn, name); err != nil {
			return err
		}
	}
	return nil
}

// countLate is how many replies to calls of execute have come too late, on all
// connections.
func (n *names) countLate() uint64 {
	var late uint64
	_ = n.each(func(conn *Conn, _ string) error {
		late += conn.stream.pending.countLate()
		return nil
	})
	return late
}

// close closes all connections.
func (n *names) close() error {
	var errs []error
	_ = n.each(func(conn *Conn, _ string) error {
		errs = append(errs, conn.Close())
		return nil
	})
	return errors.Join(errs...)
}

func takeName(ctx context.Context, conn *Conn, name string) error {
	got, err := conn.callBus(ctx, "RequestName", name, uint32(dbus.NameFlagDoNotQueue))
	if err != nil {
		return fmt.Errorf("bus name %s: %w", name, err)
	}
	switch reply, _ := firstUint32(got); dbus.RequestNameReply(reply) {
	case dbus.RequestNameReplyPrimaryOwner, dbus.RequestNameReplyAlreadyOwner:
		return nil
	}
	return fmt.Errorf("%w: %s, by %s", ErrNameTaken, name, ownerOf(ctx, conn, name))
}

// ownerOf describes the owner of a name for an error.
func ownerOf(ctx context.Context, conn *Conn, name string) string {
	got, err := conn.callBus(ctx, "GetConnectionUnixProcessID", name)
	if pid, ok := firstUint32(got); err == nil && ok {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// ErrNameTaken: a bus name that the service needs has an owner.
var ErrNameTaken = errors.New("bus name is taken")
