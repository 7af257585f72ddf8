package ipmi

// routes is all that a Mux knows at one moment. It is never changed, only
// replaced, so that requests are routed without a lock.
type routes struct {
	registrations []*Registration
	defaults      map[string]Handler // by interface name
	byCommand     map[commandKey][]route
}

// commandKey is a command, or with AnyCommand all of a netFn.
type commandKey struct {
	netFn   NetFn
	command Command
}

type route struct {
	channels ChannelMask
	group    uint32
	handler  Handler
}

// noRoutes is what a Mux begins with.
var noRoutes routes

// with is the routes of the same defaults and other registrations.
func (r *routes) with(registrations []*Registration) *routes {
	byCommand := make(map[commandKey][]route)
	for _, reg := range registrations {
		if reg.handler == nil {
			continue
		}
		for _, p := range reg.patterns {
			key := commandKey{p.NetFn, p.Command}
			byCommand[key] = append(byCommand[key], route{p.Channels, p.Group, reg.handler})
		}
	}
	return &routes{registrations: registrations, defaults: r.defaults, byCommand: byCommand}
}

// find is the handler of a request, or nil. At most one route matches, as
// registrations do not overlap.
func (r *routes) find(req *Request) Handler {
	group := req.Group()
	for _, cmd := range [...]Command{req.Command, AnyCommand} {
		for _, to := range r.byCommand[commandKey{req.NetFn, cmd}] {
			if to.channels.Has(req.Channel) && (to.group == AnyGroup || to.group == group) {
				return to.handler
			}
		}
	}
	return r.defaults[req.Interface]
}
