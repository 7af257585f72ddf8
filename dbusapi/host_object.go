package dbusapi

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Host is what a Server needs of a host interface. Its methods may be called
// from several goroutines at once.
type Host interface {
	// Properties is how the interface is now. It does not block.
	Properties() HostProperties
	// Statistics is the counters by name; the caller may change the map.
	Statistics() map[string]uint64
}

// HostProperties is what a host interface shows of itself. It is comparable.
type HostProperties struct {
	Name    string // as in the configuration
	Type    string // "vm", "bt", "kcs" or "ssif"
	Path    string // of the device or socket
	Channel ipmi.Channel
	Handler string // "host", "bmc" or "none"
	State   State
	Reason  string // of State, a sentence; "" when Up
}

// HostObject is a host interface on D-Bus. It has a connection and a bus name of
// its own, by which the host IPMI daemon finds its channel. Server.NewHost makes
// it before the interface exists, so that this can be given its handler;
// Server.AddHost exports it.
type HostObject struct {
	name    string
	word    string          // the last of the bus name
	path    dbus.ObjectPath // on the service's own connection
	daemon  *HostDaemon
	objects objects // on the interface's connection
	host    Host    // from AddHost on
	// hostIPMI is what btbridge serves; nil without it.
	hostIPMI *HostIPMI
	unsent   atomic.Uint64 // signals
	added    bool          // by AddHost

	dirty atomic.Bool    // properties may have changed since they were told
	told  HostProperties // of the emitting loop, once exported
}

// Path is where the object of the service is exported: BasePath and the name of
// the interface, "-" replaced by "_".
func (o *HostObject) Path() dbus.ObjectPath { return o.path }

// Daemon is the handler that gives the host's requests to the host IPMI daemon,
// as openbmc/kcsbridge does: from the interface's connection and without
// options.
func (o *HostObject) Daemon() *HostDaemon { return o.daemon }

// NewHost makes the object of a host interface and its connection. Nobody sees
// it until AddHost.
func (s *Server) NewHost(ctx context.Context, name string) (*HostObject, error) {
	path, err := childPath("host", name)
	if err != nil {
		return nil, err
	}
	o := &HostObject{name: name, word: strings.ReplaceAll(name, "-", "_"), path: path, objects: newObjects()}
	if !isNameElement(o.word) {
		return nil, fmt.Errorf("host name %q: it cannot be the last word of a D-Bus name", name)
	}
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: s.names.address, Call: s.take(&o.objects)})
	if err != nil {
		return nil, err
	}
	if !s.names.add(xml.ChannelNames+o.word, conn, 0) {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: host name %q: there is a channel of the bus name %s", ErrTaken, name, xml.ChannelNames+o.word)
	}
	o.daemon = &HostDaemon{conn, &systemInterfaceDaemon, &s.names.late}
	return o, nil
}

// AddHost exports a host interface. A path that is taken is an error. TakeNames
// takes the bus name, again for one that is added later. Without an SMS the
// interface of that name is not there.
func (s *Server) AddHost(o *HostObject, host Host, sms SMS) error {
	o.host = host
	o.told = host.Properties()
	exported := newObject(s, o.path, xml.HostInterface)
	exported.host = o
	if !s.objects.add(exported) {
		return fmt.Errorf("host %s: there is an object at %s already", o.name, o.path)
	}
	o.added = true
	o.exportSMS(s, sms)
	s.emitAdded(exported)
	return nil
}

// WithdrawHost takes the object of the service away, if there is one yet.
func (s *Server) WithdrawHost(o *HostObject) {
	if o.added {
		o.added = false
		s.emitRemoved(s.objects.remove(o.path))
	}
}

// RemoveHost takes a host interface away, with its connections and bus names, when
// the calls there have been replied to, or ctx ends. It may not have been added.
func (s *Server) RemoveHost(ctx context.Context, o *HostObject) {
	s.WithdrawHost(o)
	s.names.remove(ctx, xml.ChannelNames+o.word, o.daemon.conn)
	if o.hostIPMI != nil {
		s.names.remove(ctx, hostIPMIName, o.hostIPMI.conn)
	}
}

// HostChanged is Changed for a host interface.
func (s *Server) HostChanged(o *HostObject) {
	o.dirty.Store(true)
	s.wake()
}

// emitHostChanges tells of the properties that differ from what was told last.
func (s *Server) emitHostChanges() {
	for _, o := range s.objects.hosts() {
		if !o.dirty.Swap(false) {
			continue
		}
		now := o.host.Properties()
		changed := changedProperties(hostProperties(), view{host: o.told}, view{host: now})
		o.told = now
		if len(changed) > 0 {
			_ = s.conn.Emit(o.path, propertiesChanged, xml.HostInterface, changed, []string{})
		}
	}
}
