package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// ErrNameTaken: a bus name that the service needs has an owner.
var ErrNameTaken = errors.New("bus name is taken")

// names has the connections of a server by the bus name that each owns. The host daemon takes a
// connection for one channel only, so each name needs a connection.
type names struct {
	address string
	lost    chan struct{} // closed when a connection is lost or closed
	once    sync.Once

	mu    sync.Mutex
	owned map[string]*ownName
}

// ownName is a bus name and its connection.
type ownName struct {
	name    string
	conn    *dbuswire.Conn
	unwatch func() bool
	shared  bool // by the buses of one bus-name
	users   int
}

// openName makes the connection for a name, or shares the existing one. The error is ErrTaken if
// that cannot be shared.
func (n *names) openName(ctx context.Context, name string, shared bool, calls func(*dbuswire.Conn, *dbuswire.Message) bool) (*ownName, error) {
	if own := n.shareName(name, shared); own != nil {
		return own, nil
	}
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: n.address, Call: calls})
	if err != nil {
		return nil, err
	}
	if own := n.addName(name, shared, conn); own != nil {
		return own, nil
	}
	_ = conn.Close() // The name has a connection.
	if own := n.shareName(name, shared); own != nil {
		return own, nil
	}
	return nil, fmt.Errorf("%w: a bus or a host interface has the bus name %s", ErrTaken, name)
}

// shareName finds the connection of a name for one user more; nil if there is none to share.
func (n *names) shareName(name string, shared bool) *ownName {
	n.mu.Lock()
	defer n.mu.Unlock()
	own := n.owned[name]
	if own == nil || !own.shared || !shared {
		return nil
	}
	own.users++
	return own
}

// addName keeps a connection for a name, and watches it; nil if the name has one.
func (n *names) addName(name string, shared bool, conn *dbuswire.Conn) *ownName {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owned[name] != nil {
		return nil
	}
	unwatch := context.AfterFunc(conn.Context(), func() { n.once.Do(func() { close(n.lost) }) })
	n.owned[name] = &ownName{name: name, conn: conn, unwatch: unwatch, shared: shared, users: 1}
	return n.owned[name]
}

// leaveName ends the use of a name. After the last use it closes the connection, when its calls
// have been replied to and the name is free, or when ctx ends. That does not count as the loss of
// a connection.
func (n *names) leaveName(ctx context.Context, own *ownName) {
	n.mu.Lock()
	last := n.owned[own.name] == own
	if last {
		own.users--
		last = own.users == 0
	}
	if last {
		own.unwatch()
		delete(n.owned, own.name)
	}
	n.mu.Unlock()
	if !last {
		return
	}
	own.conn.AwaitReplies(ctx)
	// The name would be free after the end, too, but a moment later.
	_, _ = own.conn.CallBus(ctx, "ReleaseName", own.name)
	_ = own.conn.Close()
}

func (n *names) findName(name string) *ownName {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owned[name]
}

// list is the names that there are now.
func (n *names) list() []*ownName {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.owned))
}

// HostDaemon returns the handler that gives requests to the host IPMI daemon, for all buses of one
// bus-name. A name other than the service's own has a connection of its own; TakeNames takes the
// name. Each call needs one call of ReleaseHostDaemon.
func (s *Server) HostDaemon(ctx context.Context, busName string) (*HostDaemon, error) {
	if !xml.IsNameElement(busName) {
		return nil, fmt.Errorf("bus-name %q: it cannot be the last word of a D-Bus name", busName)
	}
	objects := newObjects()
	own, err := s.names.openName(ctx, xml.ChannelNames+busName, true, s.calls(&objects))
	if err != nil {
		return nil, err
	}
	return &HostDaemon{conn: own.conn, to: &hostDaemon, counts: &s.counters}, nil
}

// ReleaseHostDaemon ends a use of the bus-name. After the last use it gives the name and its
// connection back before it returns, at the latest when ctx ends.
func (s *Server) ReleaseHostDaemon(ctx context.Context, busName string) {
	if own := s.names.findName(xml.ChannelNames + busName); own != nil {
		s.names.leaveName(ctx, own)
	}
}

// CheckNames reports whether TakeNames can take the names that buses and host interfaces would
// need, by their last words, and the service's own. If it cannot, the error is ErrNameTaken.
// hostIPMI includes the name of AddHostIPMI.
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
		switch own := s.names.findName(name); {
		case errors.As(err, &refused) && refused.Name == xml.ErrorNoOwner:
		case err != nil:
			return fmt.Errorf("bus name %s: %w", name, err)
		case own == nil || owner != own.conn.Name():
			return nameTaken(ctx, s.conn, name)
		}
	}
	return nil
}

// TakeNames takes all names of the service. If another program has one, the error is ErrNameTaken:
// two instances must not share the buses.
func (s *Server) TakeNames(ctx context.Context) error {
	for _, own := range s.names.list() {
		reply, err := own.conn.CallBusForNumber(ctx, "RequestName", own.name, uint32(dbus.NameFlagDoNotQueue))
		if err != nil {
			return fmt.Errorf("bus name %s: %w", own.name, err)
		}
		switch dbus.RequestNameReply(reply) {
		case dbus.RequestNameReplyPrimaryOwner, dbus.RequestNameReplyAlreadyOwner:
		default:
			return nameTaken(ctx, own.conn, own.name)
		}
	}
	return nil
}

// ReleaseNames gives the names back, so that new clients find no service while the last calls end.
func (s *Server) ReleaseNames(ctx context.Context) error {
	for _, own := range s.names.list() {
		if _, err := own.conn.CallBus(ctx, "ReleaseName", own.name); err != nil {
			return err
		}
	}
	return nil
}

// nameTaken is the error for a name that another program owns.
func nameTaken(ctx context.Context, conn *dbuswire.Conn, name string) error {
	owner := "another process"
	if pid, err := conn.CallBusForNumber(ctx, "GetConnectionUnixProcessID", name); err == nil {
		owner = fmt.Sprintf("process %d", pid)
	}
	return fmt.Errorf("%w: %s, by %s", ErrNameTaken, name, owner)
}
