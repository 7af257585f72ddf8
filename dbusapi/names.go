package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// names is the connections of a server by the bus name that each owns. The host
// daemon takes a connection for one channel only, so that each name needs its own.
type names struct {
	address string
	lost    chan struct{} // closed when a connection is lost or closed
	once    sync.Once

	mu    sync.Mutex
	owned map[string]*ownName
	late  atomic.Uint64 // replies to calls of execute that came after the deadline
}

// ownName is a bus name and its connection.
type ownName struct {
	host    *HostDaemon
	unwatch func() bool
	users   int // that share it; 0: it is somebody's alone
}

func newNames(address string) *names {
	return &names{
		address: address,
		lost:    make(chan struct{}),
		owned:   make(map[string]*ownName),
	}
}

// add keeps a connection for a name and watches it, unless the name has one. users
// is how many share it, 0 for a name that is not shared.
func (n *names) add(name string, conn *dbuswire.Conn, users int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owned[name] != nil {
		return false
	}
	n.owned[name] = &ownName{
		host:    &HostDaemon{conn, &hostDaemon, &n.late},
		unwatch: context.AfterFunc(conn.Context(), func() { n.once.Do(func() { close(n.lost) }) }),
		users:   users,
	}
	return true
}

// share is the connection of a name for one user more; nil when there is none.
func (n *names) share(name string) (*HostDaemon, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch own := n.owned[name]; {
	case own == nil:
		return nil, nil
	case own.users == 0:
		return nil, fmt.Errorf("%w: the bus name %s is that of a host interface", ErrTaken, name)
	default:
		own.users++
		return own.host, nil
	}
}

// unshare ends what share or add has begun. The last user's end is the
// connection's.
func (n *names) unshare(ctx context.Context, name string) {
	n.mu.Lock()
	own := n.owned[name]
	own.users--
	if own.users > 0 {
		own = nil
	} else {
		n.forget(name, own)
	}
	n.mu.Unlock()
	own.close(ctx, name)
}

// remove ends a name that is not shared, if it has this connection.
func (n *names) remove(ctx context.Context, name string, conn *dbuswire.Conn) {
	n.mu.Lock()
	own := n.owned[name]
	if own == nil || own.host.conn != conn {
		own = nil
	} else {
		n.forget(name, own)
	}
	n.mu.Unlock()
	own.close(ctx, name)
}

// forget takes a name off the list. The end of its connection is no loss then.
func (n *names) forget(name string, own *ownName) {
	own.unwatch()
	delete(n.owned, name)
}

// close closes the connection of a name, when its calls have been replied to and
// the name is free, or when ctx ends. A nil ownName is no connection.
func (own *ownName) close(ctx context.Context, name string) {
	if own == nil {
		return
	}
	conn := own.host.conn
	conn.AwaitReplies(ctx)
	// The name would be free after the end, too, but a moment later.
	_, _ = conn.CallBus(ctx, "ReleaseName", name)
	_ = conn.Close()
}

// HostDaemon is the handler that gives requests to the host IPMI daemon, for
// all buses of one bus-name. A name other than the service's own gets its own
// connection; TakeNames takes the name. Each call needs one of ReleaseHostDaemon.
func (s *Server) HostDaemon(ctx context.Context, busName string) (*HostDaemon, error) {
	if !isNameElement(busName) {
		return nil, fmt.Errorf("bus-name %q: it cannot be the last word of a D-Bus name", busName)
	}
	name := xml.ChannelNames + busName
	if host, err := s.names.share(name); host != nil || err != nil {
		return host, err
	}
	objects := newObjects()
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: s.names.address, Call: s.take(&objects)})
	if err != nil {
		return nil, err
	}
	if !s.names.add(name, conn, 1) {
		_ = conn.Close() // Somebody was faster.
	}
	return s.names.host(name), nil
}

// ReleaseHostDaemon says that a bus of the bus-name is no more. The last one's name
// and connection are given back before it returns, at most when ctx ends.
func (s *Server) ReleaseHostDaemon(ctx context.Context, busName string) {
	s.names.unshare(ctx, xml.ChannelNames+busName)
}

func (n *names) host(name string) *HostDaemon {
	n.mu.Lock()
	defer n.mu.Unlock()
	if own := n.owned[name]; own != nil {
		return own.host
	}
	return nil
}

// CheckNames says whether TakeNames can take the names that buses and host
// interfaces would need, by their last words, and the service's own: the error is
// ErrNameTaken. hostIPMI says that the one of AddHostIPMI is wanted, too.
func (s *Server) CheckNames(ctx context.Context, words []string, hostIPMI bool) error {
	wanted := []string{xml.ServiceName}
	for _, word := range words {
		wanted = append(wanted, xml.ChannelNames+word)
	}
	if hostIPMI {
		wanted = append(wanted, hostIPMIName)
	}
	for _, name := range wanted {
		owner, err := s.conn.OwnerOf(ctx, name)
		var refused dbus.Error
		switch host := s.names.host(name); {
		case errors.As(err, &refused) && refused.Name == xml.ErrorNoOwner:
		case err != nil:
			return fmt.Errorf("bus name %s: %w", name, err)
		case host == nil || owner != host.conn.Name():
			return nameTaken(ctx, s.conn, name)
		}
	}
	return nil
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
	return s != "" && len(xml.ChannelNames)+len(s) <= 255
}

// TakeNames takes all names of the service. One that is taken already is
// ErrNameTaken: two instances must not share the buses.
func (s *Server) TakeNames(ctx context.Context) error {
	return s.names.each(func(conn *dbuswire.Conn, name string) error { return takeName(ctx, conn, name) })
}

// ReleaseNames gives the names back, so that new clients find nobody while the
// last calls end.
func (s *Server) ReleaseNames(ctx context.Context) error {
	return s.names.each(func(conn *dbuswire.Conn, name string) error {
		_, err := conn.CallBus(ctx, "ReleaseName", name)
		return err
	})
}

// each calls f for each name and its connection, until an error.
func (n *names) each(f func(*dbuswire.Conn, string) error) error {
	n.mu.Lock()
	all := maps.Clone(n.owned)
	n.mu.Unlock()
	for name, own := range all {
		if err := f(own.host.conn, name); err != nil {
			return err
		}
	}
	return nil
}

// close closes all connections.
func (n *names) close() error {
	var errs []error
	_ = n.each(func(conn *dbuswire.Conn, _ string) error {
		errs = append(errs, conn.Close())
		return nil
	})
	return errors.Join(errs...)
}

func takeName(ctx context.Context, conn *dbuswire.Conn, name string) error {
	reply, err := conn.CallBusForNumber(ctx, "RequestName", name, uint32(dbus.NameFlagDoNotQueue))
	if err != nil {
		return fmt.Errorf("bus name %s: %w", name, err)
	}
	switch dbus.RequestNameReply(reply) {
	case dbus.RequestNameReplyPrimaryOwner, dbus.RequestNameReplyAlreadyOwner:
		return nil
	}
	return nameTaken(ctx, conn, name)
}

// nameTaken says who has a name.
func nameTaken(ctx context.Context, conn *dbuswire.Conn, name string) error {
	return fmt.Errorf("%w: %s, by %s", ErrNameTaken, name, ownerOf(ctx, conn, name))
}

// ownerOf describes the owner of a name for an error.
func ownerOf(ctx context.Context, conn *dbuswire.Conn, name string) string {
	if pid, err := conn.CallBusForNumber(ctx, "GetConnectionUnixProcessID", name); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// ErrNameTaken: a bus name that the service needs has an owner.
var ErrNameTaken = errors.New("bus name is taken")
