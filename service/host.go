package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/ipmi/bridge"
	"ipmbd/ipmi/host"
)

// hostInterface is the system interface of a host.
type hostInterface struct {
	config HostConfig
	object *dbusapi.HostObject
	loop   *host.Loop
	vm     *host.VM // of a virtual machine, else nil
	iface  *bridge.Interface
	log    *zap.Logger
	// passed is systemd's socket, for the first time that it is listened on; nil
	// for none.
	passed  net.Listener
	changed func() // tells that Properties may have changed

	gone func() // tells that the machine was reset or has lost its power

	forced atomic.Bool // attention, as somebody on D-Bus has asked for

	mu    sync.Mutex
	state health
}

// addHost makes a system interface and exports it.
func (s *service) addHost(ctx context.Context, config HostConfig, sockets passed) error {
	object, err := s.server.NewHost(ctx, config.Name)
	if err != nil {
		return err
	}
	h := &hostInterface{
		config:  config,
		object:  object,
		log:     s.log.With(zap.String("host", config.Name)),
		passed:  sockets.take(config.Path),
		changed: func() { s.server.HostChanged(object) },
		gone:    func() { s.bmc.HostGone(config.Name) },
		state:   health{dbusapi.Down, "not opened yet"},
	}
	h.iface = s.newInterface(bridge.InterfaceConfig{
		Name:      config.Name,
		Channel:   *config.IPMIChannel,
		Host:      config.DevIndex,
		Medium:    bridge.MediumSystemInterface,
		Protocol:  config.Type.protocol(),
		Bridged:   config.bridged(),
		MaxData:   func() int { return config.Type.maxData() },
		Attention: func(bridge.Attention) { h.loop.AttentionChanged() },
	})
	if err := s.setHostDefault(ctx, h); err != nil {
		return err
	}
	h.open(host.Config{
		Interface: config.Name,
		Channel:   *config.IPMIChannel,
		Host:      config.DevIndex,
		Handler:   requestLog{s.config.filtered(config.Name, h.iface.Handler(&s.mux)), h.log},
		Attention: h.attention,
	})
	s.bridge.Add(h.iface, nil)
	s.hosts = append(s.hosts, h)
	return s.server.AddHost(object, h, h.sms())
}

// setHostDefault sets who answers what nobody is registered for.
func (s *service) setHostDefault(ctx context.Context, h *hostInterface) error {
	switch kind := *h.config.Handler; {
	case kind == HandlerBMC:
		s.mux.SetDefault(h.config.Name, s.bmc)
		if h.config.Type != HostVM {
			s.server.Power().Follow(h.config.DevIndex)
		}
	case h.config.LegacyAPI:
		legacy, err := s.server.AddHostIPMI(ctx, h.object, h.sms())
		if err != nil {
			return err
		}
		s.mux.SetDefault(h.config.Name, legacy)
	case kind == HandlerHost:
		s.mux.SetDefault(h.config.Name, h.object.Daemon())
	}
	return nil
}

// open makes what serves the interface.
func (h *hostInterface) open(config host.Config) {
	if h.config.Type == HostVM {
		h.vm = host.NewVM(config, h.happened)
		h.loop = h.vm.Loop()
		return
	}
	h.loop = host.NewLoop(config)
}

// attention is what the host is shown.
func (h *hostInterface) attention() host.Attention {
	a := host.Attention(h.iface.Attention())
	a.Raised = a.Raised || h.forced.Load()
	return a
}

// happened is told what happens to a virtual machine.
func (h *hostInterface) happened(e host.VMEvent) {
	switch e {
	case host.VMConnected:
		h.setState(health{state: dbusapi.Up})
	case host.VMWasReset:
		h.gone()
	case host.VMGone:
		h.gone()
		h.setState(health{dbusapi.Down, notConnected})
	}
}

const notConnected = "no machine is connected"

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
	h.changed()
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

// Run serves the interface until ctx ends. It opens it again, less and less often,
// after what went wrong.
func (h *hostInterface) Run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		begin := time.Now()
		err := h.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		h.setState(health{dbusapi.Down, err.Error()})
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
	port, err := h.config.Type.open(h.config.Path)
	if err != nil {
		return err
	}
	h.setState(health{state: dbusapi.Up})
	return h.loop.Run(ctx, port)
}

func (h *hostInterface) serveVM(ctx context.Context) error {
	listener := h.passed
	h.passed = nil
	if listener == nil {
		var err error
		if listener, err = host.Listen(ctx, h.config.Path); err != nil {
			return err
		}
	}
	h.setState(health{dbusapi.Down, notConnected})
	return h.vm.Run(ctx, listener)
}

// sms is what others may do at the interface; a machine's has no such thing.
func (h *hostInterface) sms() dbusapi.SMS {
	if h.vm != nil {
		return nil
	}
	return hostSMS{h}
}

// hostSMS implements dbusapi.SMS.
type hostSMS struct{ *hostInterface }

// SetAttention implements dbusapi.SMS.
func (h hostSMS) SetAttention(ctx context.Context, raised bool) error {
	h.forced.Store(raised)
	// When this has its turn, the host is shown what there is then.
	return h.do(ctx, func(p host.Port) error { return p.SetAttention(h.attention()) })
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
		return ipmi.ErrAbsent
	}
	return h.loop.Do(ctx, do)
}

var errHostType = errors.New("no such type of host")

// open opens the device of a host.
func (t HostType) open(path string) (host.Port, error) {
	switch t {
	case HostKCS:
		return host.OpenKCS(path)
	case HostBT:
		return host.OpenBT(path)
	case HostSSIF:
		return host.OpenSSIF(path)
	}
	return nil, errHostType
}

// protocol is what Get Channel Info says; that of a machine is not known, and
// KCS is what most have.
func (t HostType) protocol() bridge.Protocol {
	switch t {
	case HostBT:
		return bridge.ProtocolBT
	case HostSSIF:
		return bridge.ProtocolSSIF
	}
	return bridge.ProtocolKCS
}

func (t HostType) maxData() int {
	switch t {
	case HostKCS:
		return host.KCSMaxData
	case HostBT:
		return host.BTMaxData
	case HostSSIF:
		return host.SSIFMaxData
	}
	return host.VMMaxData
}
