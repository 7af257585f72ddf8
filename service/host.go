package service

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ipmbd/ipmi/bridge"
	"ipmbd/ipmi/host"
)

// hostInterface is the system interface of a host.
type hostInterface struct {
	config      HostConfig
	vm          *host.VM
	iface       *bridge.Interface
	log         *zap.Logger
	isConnected atomic.Bool
	// passed is systemd's socket, for the first time that it is listened on; nil
	// for none.
	passed net.Listener
}

// addHost makes a system interface.
func (s *service) addHost(ctx context.Context, config HostConfig, sockets passed) error {
	h := &hostInterface{config: config, log: s.log.With(zap.String("host", config.Name)), passed: sockets.take(config.Path)}
	h.iface = s.newInterface(bridge.InterfaceConfig{
		Name:      config.Name,
		Channel:   *config.IPMIChannel,
		Host:      config.DevIndex,
		Medium:    bridge.MediumSystemInterface,
		Protocol:  bridge.ProtocolKCS,
		Bridged:   config.bridged(),
		MaxData:   func() int { return host.VMMaxData },
		Attention: func(bridge.Attention) { h.vm.Loop().AttentionChanged() },
	})
	if err := s.setDefault(ctx, config.Name, *config.Handler, config.BusName, nil); err != nil {
		return err
	}
	h.vm = host.NewVM(host.Config{
		Interface: config.Name,
		Channel:   *config.IPMIChannel,
		Host:      config.DevIndex,
		Handler:   failureLog{s.config.filtered(config.Name, h.iface.Handler(&s.mux)), h.log},
		Attention: func() host.Attention { return host.Attention(h.iface.Attention()) },
	}, h.connected)
	s.bridge.Add(h.iface, nil)
	s.hosts = append(s.hosts, h)
	return nil
}

func (h *hostInterface) connected(is bool) {
	h.isConnected.Store(is)
	state := "gone"
	if is {
		state = "connected"
	}
	h.log.Info("host "+state, zap.String("path", h.config.Path))
}

// Run serves the interface until ctx ends. It listens again, less and less often,
// after what went wrong.
func (h *hostInterface) Run(ctx context.Context) {
	var retry backoff
	for ctx.Err() == nil {
		begin := time.Now()
		err := h.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		h.log.Warn("host interface", zap.Error(err))
		timer := time.NewTimer(retry.after(time.Since(begin)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (h *hostInterface) serve(ctx context.Context) error {
	listener := h.passed
	h.passed = nil
	if listener == nil {
		var err error
		if listener, err = host.Listen(ctx, h.config.Path); err != nil {
			return err
		}
	}
	return h.vm.Run(ctx, listener)
}
