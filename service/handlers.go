package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openHandlers makes the bridge, and the parts that the BMC needs to serve requests.
func (s *service) openHandlers() error {
	s.bridge = bridge.New(bridge.Config{
		Blocking: s.blocking, Now: s.bmc.Log().Now, Publish: s.server.PlatformEvent,
		Rearm: s.bmc.RearmSensors,
		Log:   &eventLog{system: &s.platform.Log, own: s.bmc.Log(), log: s.log},
	})
	s.server.ServeStorage(s.bmc)
	s.moveLAN(bmc.DefaultLANChannel)
	var err error
	s.reserved, err = s.mux.Reserve(bridgeOwner)
	return err
}

// bridgeOwner names the owner of the bridge's commands to programs that want to register them.
const bridgeOwner = "the message bridge of ipmbd"

// setChannels tells the BMC and the bridge, whose commands programs cannot register, which
// channels there are. If a program has registered one, the error is an *ipmi.OverlapError, and
// nothing has changed.
func (s *service) setChannels(plans []plan) error {
	var all, bridged ipmi.ChannelMask
	for _, p := range plans {
		all |= p.channel.Mask()
		if p.bridged {
			bridged |= p.channel.Mask()
		}
	}
	var patterns []ipmi.Pattern
	if bridged != 0 {
		patterns = bridge.Patterns(bridged)
	}
	reserved, err := s.reserved.Replace(patterns...)
	if err != nil {
		return err
	}
	s.reserved = reserved
	lan := lanChannel(all)
	s.moveLAN(lan)
	s.bmc.SetChannels(lan, all)
	return nil
}

// newInterface makes an interface whose watchdog is the BMC's.
func (s *service) newInterface(config bridge.InterfaceConfig) *bridge.Interface {
	config.ClearPreTimeout = func() { s.bmc.ClearPreTimeout(config.Name) }
	return s.bridge.NewInterface(config)
}

// setHandler makes the handler of an endpoint's requests, e.filter. A request that the command
// filters let through goes to the host interface, if it asks for the limits of that, to the bridge,
// if the command is the bridge's, and else to the program that is registered for the command, or to
// handlerFor.
func (s *service) setHandler(ctx context.Context, e *endpoint) error {
	h, err := s.handlerFor(ctx, e)
	if err != nil {
		return err
	}
	s.mux.SetDefault(e.name, h)
	next := e.iface.Handler(&s.mux)
	if e.isBus && e.handler != config.HandlerSignal { // which announces requests to have them answered
		next = e.object.Announce(next)
	}
	if e.hostInterface != nil {
		next = media[e.hostInterface.config.Type].kind.Handler(next)
	}
	e.filter = &commandFilter{EffectTeller: &s.mux, iface: e.name, next: next}
	e.filter.set(s.config.Filters)
	return nil
}

// handlerFor decides which handler serves the requests of an endpoint that no program is
// registered for. Without a handler (nil) they are answered C1h. The built-in BMC follows
// OpenBMC's view of the power of a host that is no virtual machine.
func (s *service) handlerFor(ctx context.Context, e *endpoint) (ipmi.Handler, error) {
	switch {
	case e.handler == config.HandlerNone:
		return nil, nil
	case e.handler == config.HandlerBMC:
		if e.isBus || e.hostInterface.config.Type != config.HostVM {
			s.platform.Power.Follow(e.host)
		}
		return s.bmc, nil
	case e.handler == config.HandlerSignal: // of a bus
		return e.object.SignalHandler(), nil
	case e.isBus:
		return s.server.HostDaemon(ctx, e.words[0])
	case e.hostIPMI:
		return s.server.AddHostIPMI(ctx, e.hostInterface.object, e.hostInterface.sms())
	}
	return e.hostInterface.object.Daemon(), nil
}

// commandFilter passes on commands that the configuration does not deny on an interface now.
type commandFilter struct {
	ipmi.EffectTeller // programs that are registered know the effect of their commands

	iface string
	next  ipmi.Handler
	now   atomic.Pointer[ipmi.Handler] // filters, and next behind them
}

// set makes filters of a configuration hold from now on.
func (f *commandFilter) set(filters []config.CommandFilter) {
	h := f.next
	for _, one := range slices.Backward(filters) {
		if len(one.Channels) == 0 || slices.Contains(one.Channels, f.iface) {
			h = &ipmi.Filter{Allow: one.Allow, Deny: one.Deny, Next: h}
		}
	}
	f.now.Store(&h)
}

func (f *commandFilter) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	(*f.now.Load()).ServeIPMI(req, reply)
}

// requestLog logs the requests that have come in, without their data: the error if the handler
// gave no response, and for debugging the completion code. A missing or absent handler and a
// denied command are logged for debugging, too: the handler has not failed, and a requester may
// ask often.
type requestLog struct{ log *zap.Logger }

// served logs how a request ended, see ipmb.Config.
func (l requestLog) served(req *ipmi.Request, code ipmi.CompletionCode, err error) {
	level, text := zap.DebugLevel, "request served"
	var fault []zap.Field
	if err != nil {
		text, fault = "request not served", []zap.Field{zap.Error(err)}
		if panicked := (*ipmi.PanicError)(nil); errors.As(err, &panicked) {
			level, fault = zap.ErrorLevel, append(fault, zap.ByteString("stack", panicked.Stack))
		} else if !ipmi.NotServed(err) {
			level = zap.WarnLevel
		}
	}
	if entry := l.log.Check(level, text); entry != nil {
		entry.Write(append(fault, zap.Stringer("addr", req.Requester), zap.String("netfn", hexByte(req.NetFn)),
			zap.String("cmd", hexByte(req.Command)), zap.String("seq", hexByte(req.Sequence)),
			zap.Stringer("cc", code))...)
	}
}

// sent logs how a request to a bus ended, see bus.Config.
func (l requestLog) sent(req *ipmb.Request, res ipmi.Response, err error) {
	l.log.Debug("request sent", zap.Stringer("addr", req.Responder), zap.String("netfn", hexByte(req.NetFn)),
		zap.String("cmd", hexByte(req.Command)), zap.Stringer("cc", res.Code), zap.Error(err))
}

// hexByte is a number as the field writes it: "2Ch".
func hexByte[N ~uint8](n N) string { return fmt.Sprintf("%02Xh", uint8(n)) }
