package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/host"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// hostInterface is the system interface of a host. It is the part of a member.
type hostInterface struct {
	config  config.Host
	service *service
	object  *dbusapi.HostObject
	loop    *host.Loop
	vm      *host.VM // of a virtual machine, else nil
	iface   *bridge.Interface
	policed *policed
	log     *zap.Logger

	begun chan struct{}
	begin func() // closes begun, once

	forced atomic.Bool // attention, as somebody on D-Bus has asked for

	mu    sync.Mutex
	state health
}

// hostConfig is a host of the configuration.
type hostConfig struct{ config.Host }

// name, entry, channel, bridged and busNames implement memberConfig.
func (c hostConfig) name() string          { return c.Name }
func (c hostConfig) entry() config.Entry   { return c.Host }
func (c hostConfig) channel() ipmi.Channel { return *c.IPMIChannel }
func (c hostConfig) bridged() bool         { return c.Bridged() }

func (c hostConfig) busNames() (words []string, hostIPMI bool) {
	return []string{c.Word()}, c.LegacyAPI
}

// make implements memberConfig.
func (c hostConfig) make(ctx context.Context, s *service) (part, error) {
	object, err := s.server.NewHost(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	h := &hostInterface{
		config:  c.Host,
		service: s,
		object:  object,
		log:     s.log.With(zap.String("host", c.Name)),
		begun:   make(chan struct{}),
		state:   health{dbusapi.Down, "not opened yet"},
	}
	h.begin = sync.OnceFunc(func() { close(h.begun) })
	h.iface = s.newInterface(bridge.InterfaceConfig{
		Name:      c.Name,
		Channel:   *c.IPMIChannel,
		Host:      c.DevIndex,
		Medium:    bridge.MediumSystemInterface,
		Protocol:  protocolOf(c.Type),
		Bridged:   c.bridged(),
		MaxData:   func() int { return maxDataOf(c.Type) },
		Attention: func(ipmi.Attention) { h.loop.AttentionChanged() },
	})
	h.policed = police(c.Name, h.iface.Handler(&s.mux), s.config)
	h.open(host.Config{
		Interface: c.Name,
		Channel:   *c.IPMIChannel,
		Host:      c.DevIndex,
		Handler:   h.policed,
		Served:    requestLog{h.log}.served,
		Attention: h.attention,
	})
	if err := s.setHostDefault(ctx, h); err != nil {
		h.forget(ctx)
		return nil, err
	}
	s.bridge.Add(h.iface, nil)
	if err := s.server.AddHost(object, h, h.sms()); err != nil {
		h.forget(ctx)
		return nil, err
	}
	return h, nil
}

// setHostDefault sets the handler of requests that no program is registered for.
func (s *service) setHostDefault(ctx context.Context, h *hostInterface) error {
	switch kind := *h.config.Handler; {
	case kind == config.HandlerBMC:
		s.mux.SetDefault(h.config.Name, s.bmc)
		if h.config.Type != config.HostVM {
			s.server.Power().Follow(h.config.DevIndex)
		}
	case h.config.LegacyAPI:
		legacy, err := s.server.AddHostIPMI(ctx, h.object, h.sms())
		if err != nil {
			return err
		}
		s.mux.SetDefault(h.config.Name, legacy)
	case kind == config.HandlerHost:
		s.mux.SetDefault(h.config.Name, h.object.Daemon())
	}
	return nil
}

// Begun implements part.
func (h *hostInterface) Begun() <-chan struct{} { return h.begun }

// Pulse implements part.
func (h *hostInterface) Pulse(ctx context.Context) { h.loop.Ping(ctx) }

// Drain implements part. A host asks again.
func (h *hostInterface) Drain(context.Context) {}

// path, bridgeInterface, obey, withdraw, free and forget implement part.
func (h *hostInterface) path() dbus.ObjectPath              { return h.object.Path() }
func (h *hostInterface) bridgeInterface() *bridge.Interface { return h.iface }
func (h *hostInterface) obey(next config.Config)            { h.policed.obey(next) }
func (h *hostInterface) withdraw()                          { h.service.server.WithdrawHost(h.object) }
func (h *hostInterface) free()                              {} // A host has no index.

func (h *hostInterface) forget(ctx context.Context) {
	s := h.service
	s.mux.SetDefault(h.config.Name, nil)
	s.bridge.Remove(h.iface)
	s.bmc.InterfaceGone(h.config.Name)
	s.server.RemoveHost(ctx, h.object)
}

// open makes what serves the interface.
func (h *hostInterface) open(c host.Config) {
	if h.config.Type == config.HostVM {
		h.vm = host.NewVM(c, h.happened)
		h.loop = h.vm.Loop()
		return
	}
	h.loop = host.NewLoop(c)
}

// attention is what the host is shown.
func (h *hostInterface) attention() ipmi.Attention {
	a := h.iface.Attention()
	a.Raised = a.Raised || h.forced.Load()
	return a
}

// happened is told what happens to a virtual machine.
func (h *hostInterface) happened(e host.VMEvent) {
	switch e {
	case host.VMConnected:
		h.setState(health{state: dbusapi.Up})
	case host.VMWasReset:
		h.service.bmc.HostGone(h.config.Name)
	case host.VMGone:
		h.service.bmc.HostGone(h.config.Name)
		h.setState(health{dbusapi.Down, notConnected})
	}
}

const (
	notConnected = "no machine is connected"
	stopped      = "stopped"
)

func (h *hostInterface) isUp() bool { return h.Properties().State == dbusapi.Up }

// setState tells of a change of the state.
func (h *hostInterface) setState(now health) {
	h.mu.Lock()
	before := h.state
	h.state = now
	h.mu.Unlock()
	if now == before {
		return
	}
	h.log.Info("host state", zap.String("state", string(now.state)), zap.String("reason", now.reason))
	h.service.server.HostChanged(h.object)
	h.service.statusChanged()
}

// Properties implements dbusapi.Host.
func (h *hostInterface) Properties() dbusapi.HostProperties {
	h.mu.Lock()
	defer h.mu.Unlock()
	return dbusapi.HostProperties{
		Name:    h.config.Name,
		Type:    h.config.Type.String(),
		Path:    h.config.Path,
		Channel: *h.config.IPMIChannel,
		Handler: h.config.Handler.String(),
		State:   h.state.state,
		Reason:  h.state.reason,
	}
}

// Statistics implements dbusapi.Host.
func (h *hostInterface) Statistics() map[string]uint64 {
	statistics := h.loop.Statistics()
	maps.Copy(statistics, h.iface.Statistics())
	return statistics
}

// Run implements part. It opens the interface again, less and less often, after what
// went wrong.
func (h *hostInterface) Run(ctx context.Context) {
	defer h.setState(health{dbusapi.Down, stopped})
	var retry backoff
	for ctx.Err() == nil {
		begin := time.Now()
		err := h.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		h.setState(health{dbusapi.Down, err.Error()})
		h.begin()
		timer := time.NewTimer(retry.after(time.Since(begin)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (h *hostInterface) serve(ctx context.Context) error {
	if h.vm != nil {
		return h.serveVM(ctx)
	}
	port, err := openPort(h.config.Type, h.config.Path)
	if err != nil {
		return err
	}
	h.setState(health{state: dbusapi.Up})
	h.begin()
	return h.loop.Run(ctx, port)
}

func (h *hostInterface) serveVM(ctx context.Context) error {
	listener, err := h.service.sockets.listen(ctx, h.config.Path)
	if err != nil {
		return err
	}
	h.setState(health{dbusapi.Down, notConnected})
	h.begin()
	return h.vm.Run(ctx, listener)
}

// sms is what others may do at the interface; a machine's has no such thing.
func (h *hostInterface) sms() dbusapi.SMS {
	if h.vm != nil {
		return nil
	}
	return hostSMS{h}
}

// turnTime is how long a D-Bus client's action at the interface waits for its turn, which
// may not come when the host goes.
const turnTime = 2 * time.Second

// hostSMS implements dbusapi.SMS.
type hostSMS struct{ *hostInterface }

// SetAttention implements dbusapi.SMS. An attention that cannot be set is not set later
// either.
func (h hostSMS) SetAttention(ctx context.Context, raised bool) error {
	// At its turn the host is shown the attention of that moment.
	return h.do(ctx, func(p host.Port) error {
		before := h.forced.Swap(raised)
		err := p.SetAttention(h.attention())
		if err != nil {
			h.forced.Store(before)
		}
		return err
	})
}

// ForceAbort implements dbusapi.SMS.
func (h hostSMS) ForceAbort(ctx context.Context) error {
	return h.do(ctx, func(p host.Port) error {
		if abortable, ok := p.(interface{ ForceAbort() error }); ok {
			return abortable.ForceAbort()
		}
		return fmt.Errorf("%w: abort", host.ErrUnsupported)
	})
}

func (h hostSMS) do(ctx context.Context, do func(host.Port) error) error {
	if !h.isUp() {
		return ipmi.ErrNotPresent
	}
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	return h.loop.Do(ctx, do)
}

var errHostType = errors.New("no such type of host")

// openPort opens the device of a host.
func openPort(t config.HostType, path string) (host.Port, error) {
	switch t {
	case config.HostKCS:
		return host.OpenKCS(path)
	case config.HostBT:
		return host.OpenBT(path)
	case config.HostSSIF:
		return host.OpenSSIF(path)
	}
	return nil, errHostType
}

// protocolOf is what Get Channel Info says; that of a machine is not known, and
// KCS is what most have.
func protocolOf(t config.HostType) bridge.Protocol {
	switch t {
	case config.HostBT:
		return bridge.ProtocolBT
	case config.HostSSIF:
		return bridge.ProtocolSSIF
	}
	return bridge.ProtocolKCS
}

func maxDataOf(t config.HostType) int {
	switch t {
	case config.HostKCS:
		return host.KCSMaxData
	case config.HostBT:
		return host.BTMaxData
	case config.HostSSIF:
		return host.SSIFMaxData
	}
	return host.VMMaxData
}
