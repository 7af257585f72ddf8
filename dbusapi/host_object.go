package dbusapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Host has the methods of a host interface that a Server needs. They may be called from several
// goroutines at once.
type Host interface {
	// Properties returns the present properties of the interface. It does not block.
	Properties() HostProperties
	// Statistics returns the counters by name; the caller may change the map.
	Statistics() map[string]uint64
}

// HostProperties are the properties that a host interface shows. They are comparable.
type HostProperties struct {
	Name    string // as in the configuration
	Type    string // "vm", "bt", "kcs" or "ssif"
	Path    string // of the device or socket
	Channel ipmi.Channel
	Handler string // "host", "bmc" or "none"
	State   bus.State
	Reason  string // of State, a sentence; "" when Up
}

// SMS has the actions of other programs on a host interface (openbmc/kcsbridge).
type SMS interface {
	// SetAttention shows the host whether messages wait for it.
	SetAttention(ctx context.Context, raised bool) error
	// ForceAbort ends the host's request; the host starts again.
	ForceAbort(ctx context.Context) error
}

// HostObject is a host interface on D-Bus. It has a connection and a bus name of its own, by which
// the host IPMI daemon finds its channel. Server.NewHost makes it before the interface exists, so
// that the interface can get its handler from it.
type HostObject struct {
	endpoint
	word     string // the last of the bus name
	own      *ownName
	objects  objects // on the interface's connection
	host     Host    // from Export on
	hostIPMI *HostIPMI
}

// NewHost makes the object of a host interface and its connection. No client sees it until
// Export. The error is ErrTaken if a channel has the bus name.
func (s *Server) NewHost(ctx context.Context, name string) (*HostObject, error) {
	o := &HostObject{word: strings.ReplaceAll(name, "-", "_"), objects: newObjects()}
	if err := o.initEndpoint(s, "host", name); err != nil {
		return nil, err
	}
	if !xml.IsNameElement(o.word) {
		return nil, fmt.Errorf("host name %q: it cannot be the last word of a D-Bus name", name)
	}
	own, err := s.names.openName(ctx, xml.ChannelNames+o.word, false, s.calls(&o.objects))
	if err != nil {
		return nil, fmt.Errorf("host name %q: %w", name, err)
	}
	o.own = own
	return o, nil
}

// Daemon is the handler that gives the host's requests to the host IPMI daemon, as
// openbmc/kcsbridge does: from the interface's connection and without options.
func (o *HostObject) Daemon() *HostDaemon {
	return &HostDaemon{conn: o.own.conn, to: &systemInterfaceDaemon, counts: &o.server.counters}
}

// Export exports the object. It returns an error if the path is taken. TakeNames takes the bus
// name, and is called again for an object that is added later. Without an SMS the object lacks its
// D-Bus interface.
func (o *HostObject) Export(host Host, sms SMS) error {
	o.host = host
	exported := newObject(o.server, o.path, xml.HostInterface)
	exported.host = o
	if err := o.exportObject(exported); err != nil {
		return err
	}
	var interfaces []string
	if sms != nil {
		interfaces = []string{xml.SMSInterface}
	}
	own := newObject(o.server, "/xyz/openbmc_project/Ipmi/Channel/"+dbus.ObjectPath(o.word), interfaces...)
	own.sms = sms
	o.objects.addWithAncestors(own)
	return nil
}

// Close withdraws the object, and ends the connections and bus names of the interface when their
// calls have been replied to, or ctx ends.
func (o *HostObject) Close(ctx context.Context) {
	o.Withdraw()
	o.server.names.leaveName(ctx, o.own)
	if o.hostIPMI != nil {
		o.server.names.leaveName(ctx, o.hostIPMI.own)
	}
}

// statistics is the counters of the interface and of its object.
func (o *HostObject) statistics() map[string]uint64 {
	all := o.host.Statistics()
	if all == nil {
		all = make(map[string]uint64)
	}
	all["dbus-signals-dropped"] = o.unsent.Load()
	return all
}

// WatchdogExpired is an expiration of the watchdog of a host. The numbers are as in Set
// Watchdog Timer (IPMI v2.0, section 27.6).
type WatchdogExpired struct {
	// PreTimeout: Interrupt was due; otherwise, Action was.
	PreTimeout             bool
	Use, Action, Interrupt uint8
}

// WatchdogExpired emits a signal for an expiration of the watchdog. It does not block.
func (o *HostObject) WatchdogExpired(w WatchdogExpired) {
	var preTimeout uint32
	if w.PreTimeout {
		preTimeout = 1
	}
	b := dbuswire.AppendUint32(beginSignal(o.server.conn, "", o.path, watchdogExpired, "byyy", 8), preTimeout)
	o.emitSignal(append(b, w.Use, w.Action, w.Interrupt))
}

func setAttention(raised bool) func(context.Context, *call) ([]any, error) {
	return func(ctx context.Context, c *call) ([]any, error) {
		return nil, c.object.sms.SetAttention(ctx, raised)
	}
}

func forceAbort(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.sms.ForceAbort(ctx)
}

// smsFailure is the one error that kcsbridge has.
func smsFailure(error) ([]any, error) {
	return nil, &dbus.Error{Name: xml.ErrorInternal, Body: []any{"the host interface did not do it: see its State, and the journal of ipmbd"}}
}
