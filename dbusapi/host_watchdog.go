package dbusapi

import (
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// watchdogExpired is a signal of a host interface's object.
const watchdogExpired = xml.HostInterface + ".WatchdogExpired"

// WatchdogExpired is what has happened to the watchdog of a host. The numbers are
// those of Set Watchdog Timer (IPMI v2.0, section 27.6).
type WatchdogExpired struct {
	// PreTimeout: Interrupt was due; else Action was.
	PreTimeout             bool
	Use, Action, Interrupt uint8
}

// WatchdogExpired tells of the watchdog of a host interface. It does not block.
func (s *Server) WatchdogExpired(o *HostObject, w WatchdogExpired) {
	var preTimeout uint32
	if w.PreTimeout {
		preTimeout = 1
	}
	b := s.signal(o.path, watchdogExpired, "byyy", 8)
	b = dbuswire.AppendUint32(b, preTimeout)
	if !s.queue(dbuswire.Finish(append(b, w.Use, w.Action, w.Interrupt))) {
		o.unsent.Add(1)
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
