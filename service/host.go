package service

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/host"
	"ipmbd/i2c"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// hostInterface is the system interface of a host. It implements bus.Device, dbusapi.Host and
// dbusapi.SMS.
type hostInterface struct {
	*bus.Lifecycle
	config  config.Host
	service *service
	object  *dbusapi.HostObject
	loop    *host.Loop
	vm      *host.VM // of a virtual machine, else nil
	iface   *bridge.Interface
	log     *zap.Logger
	forced  atomic.Bool // attention that a client on D-Bus has asked for

	// Of the life cycle, from Connect on; port and listener until Serve.
	port     host.Port
	listener net.Listener
	seen     i2c.Sight
}

// makeHost makes an endpoint of a host interface.
func (s *service) makeHost(ctx context.Context, e *endpoint) error {
	c := e.entry.(config.Host)
	object, err := s.server.NewHost(ctx, c.Name)
	if err != nil {
		return err
	}
	h := &hostInterface{config: c, service: s, object: object, log: s.log.With(e.field())}
	h.Lifecycle = bus.NewLifecycle(h, func() {}, h.stateChanged)
	e.hostInterface, e.runner, e.path, e.withdraw = h, h, object.Path(), object.Withdraw
	e.left = func(ctx context.Context) { object.Close(ctx) }
	h.iface = s.newInterface(bridge.InterfaceConfig{
		Name: e.name, Channel: e.channel, Host: e.host, Bridged: e.bridged,
		Medium: bridge.MediumSystemInterface, Protocol: media[c.Type].protocol,
		MaxData:   func() int { return media[c.Type].maxData },
		Attention: func(ipmi.Attention) { h.loop.AttentionChanged() },
	})
	e.iface = h.iface
	if err := s.setHandler(ctx, e); err != nil {
		s.forgetEndpoint(ctx, e)
		return err
	}
	loop := host.Config{
		Interface: e.name, Channel: e.channel, Host: e.host,
		Handler: e.filter, Served: requestLog{h.log}.served, Attention: h.attention, Deadline: c.AnswerTime,
	}
	if c.Type != config.HostVM {
		loop.Ending = h.Ending
		h.loop = host.NewLoop(loop)
	} else {
		h.vm = host.NewVM(loop, h.happened)
		h.loop = h.vm.Loop()
	}
	s.bridge.Add(h.iface, nil)
	if err := object.Export(h, h.sms()); err != nil {
		s.forgetEndpoint(ctx, e)
		return err
	}
	return nil
}

func (h *hostInterface) Connect(ctx context.Context) error {
	if h.vm != nil {
		var err error
		h.listener, err = h.service.sockets.listen(ctx, h.config.Path)
		return err
	}
	h.seen = i2c.Look(h.config.Path)
	port, err := media[h.config.Type].open(h.config.Path)
	if err == nil { // else port may be a nil pointer
		h.port = port
	}
	return err
}

func (h *hostInterface) Serve(ctx context.Context) error {
	port, listener := h.port, h.listener
	h.port, h.listener = nil, nil
	if h.vm != nil {
		h.Serving(notConnected)
		return h.vm.Run(ctx, listener)
	}
	h.Serving("")
	return h.loop.Run(ctx, port)
}

func (h *hostInterface) Close(context.Context) {
	switch {
	case h.listener != nil:
		h.listener.Close()
	case h.port != nil:
		h.port.Close()
	}
	h.SetDown(stopped)
}

// Watch implements bus.Device. The place of a virtual machine's socket is not watched.
func (h *hostInterface) Watch() (bus.Watch, error) {
	if h.vm != nil {
		return nil, ipmi.ErrNotPresent
	}
	return i2c.OpenWatch(h.config.Path, h.seen)
}

func (h *hostInterface) Ping(ctx context.Context) { h.loop.Ping(ctx) }

// Drain implements runner: a host sends its request again.
func (h *hostInterface) Drain(context.Context) {}

// attention returns the attention that the host should see.
func (h *hostInterface) attention() ipmi.Attention {
	a := h.iface.Attention()
	a.Raised = a.Raised || h.forced.Load()
	return a
}

// happened handles an event of a virtual machine.
func (h *hostInterface) happened(e host.VMEvent) {
	switch e {
	case host.VMConnected:
		h.SetWaiting("")
	case host.VMWasReset:
		h.service.bmc.HostReset(h.config.DevIndex)
	case host.VMGone:
		h.service.bmc.HostGone(h.config.DevIndex)
		h.SetWaiting(notConnected)
	}
}

// Reasons of a host interface that is Waiting, or Down.
const (
	notConnected = "no machine is connected"
	stopped      = "stopped"
)

func (h *hostInterface) isUp() bool {
	state, _ := h.State()
	return state == bus.Up
}

func (h *hostInterface) stateChanged(state bus.State, reason string) {
	h.log.Info("host state", zap.String("state", string(state)), zap.String("reason", reason))
	h.object.Changed()
	h.service.statusChanged()
}

func (h *hostInterface) Properties() dbusapi.HostProperties {
	state, reason := h.State()
	return dbusapi.HostProperties{
		Name: h.config.Name, Type: h.config.Type.String(), Path: h.config.Path,
		Channel: *h.config.IPMIChannel, Handler: h.config.Handler.String(),
		State: state, Reason: reason,
	}
}

func (h *hostInterface) Statistics() map[string]uint64 {
	statistics := h.loop.Statistics()
	maps.Copy(statistics, h.iface.Statistics())
	return statistics
}

// sms returns the interface for D-Bus clients; nil for a virtual machine.
func (h *hostInterface) sms() dbusapi.SMS {
	if h.config.Type == config.HostVM {
		return nil
	}
	return h
}

// turnTime is how long an action of a D-Bus client waits for its turn, which may not come.
const turnTime = 2 * time.Second

// SetAttention implements dbusapi.SMS. An attention that cannot be set now is not set later.
func (h *hostInterface) SetAttention(ctx context.Context, raised bool) error {
	// At its turn the host is shown the attention of that moment.
	return h.atTurn(ctx, func(p host.Port) error {
		before := h.forced.Swap(raised)
		err := p.SetAttention(h.attention())
		if err != nil {
			h.forced.Store(before)
		}
		return err
	})
}

func (h *hostInterface) ForceAbort(ctx context.Context) error {
	return h.atTurn(ctx, func(p host.Port) error {
		if abortable, ok := p.(interface{ ForceAbort() error }); ok {
			return abortable.ForceAbort()
		}
		return fmt.Errorf("%w: abort", host.ErrUnsupported)
	})
}

func (h *hostInterface) atTurn(ctx context.Context, do func(host.Port) error) error {
	if !h.isUp() {
		return ipmi.ErrNotPresent
	}
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	return h.loop.Do(ctx, do)
}

// medium has the differences between the types of host interfaces.
type medium struct {
	kind     host.Kind
	protocol bridge.Protocol // in Get Channel Info
	maxData  int
	open     func(path string) (host.Port, error) // nil for virtual machines
}

// media are the types of host interfaces. For virtual machines KCS is assumed.
var media = map[config.HostType]medium{
	config.HostVM:   {host.KindVM, bridge.ProtocolKCS, host.VMMaxData, nil},
	config.HostKCS:  {host.KindKCS, bridge.ProtocolKCS, host.KCSMaxData, opening(host.OpenKCS)},
	config.HostBT:   {host.KindBT, bridge.ProtocolBT, host.BTMaxData, opening(host.OpenBT)},
	config.HostSSIF: {host.KindSSIF, bridge.ProtocolSSIF, host.SSIFMaxData, opening(host.OpenSSIF)},
}

// opening is an open function of package host for any port.
func opening[P host.Port](open func(path string) (P, error)) func(path string) (host.Port, error) {
	return func(path string) (host.Port, error) { return open(path) }
}
