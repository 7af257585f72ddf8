package service

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/host"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// lamp is a port that shows attention, and can do nothing else.
type lamp struct {
	closed chan struct{}
	shown  []bool // by the loop's goroutine
	err    error
}

func (p *lamp) Read() (host.Request, error)       { <-p.closed; return host.Request{}, io.EOF }
func (p *lamp) Write(host.Response) (bool, error) { return true, nil }
func (p *lamp) Finish() error                     { return nil }
func (p *lamp) Limits() host.Limits               { return host.Limits{} }
func (p *lamp) Close() error                      { close(p.closed); return nil }
func (p *lamp) SetAttention(a ipmi.Attention) error {
	if a.Raised && p.err != nil {
		return p.err
	}
	p.shown = append(p.shown, a.Raised)
	return nil
}

// TestAttentionThatFailsIsNotRaisedLater: a client that was told of the failure does not expect
// the attention, and the host would find nothing.
func TestAttentionThatFailsIsNotRaisedLater(t *testing.T) {
	h := &hostInterface{config: config.Host{Type: config.HostKCS, Path: "/dev/ipmi-kcs3"}.WithDefaults(), log: zap.NewNop()}
	h.Lifecycle = bus.NewLifecycle(h, func() {}, func(bus.State, string) {})
	h.iface = bridge.New(bridge.Config{}).NewInterface(bridge.InterfaceConfig{})
	h.loop = host.NewLoop(host.Config{Attention: h.attention})
	sms := h
	if err := sms.SetAttention(t.Context(), true); !errors.Is(err, ipmi.ErrNotPresent) || h.attention().Raised {
		t.Errorf("of a device that is Down: %v; raised: %v", err, h.attention().Raised)
	}
	h.Serving("")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sms.SetAttention(ended, true); !errors.Is(err, host.ErrUnsupported) || h.attention().Raised {
		t.Errorf("without its turn: %v; raised: %v", err, h.attention().Raised)
	}

	p := &lamp{closed: make(chan struct{}), err: errors.New("no such line")}
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.loop.Run(running, p) }()
	if err := sms.SetAttention(t.Context(), true); !errors.Is(err, p.err) || h.attention().Raised {
		t.Errorf("refused by the device: %v; raised: %v", err, h.attention().Raised)
	}
	for _, raised := range []bool{true, false} {
		// With the port, as its fault is read there.
		if err := h.loop.Do(t.Context(), func(host.Port) error { p.err = nil; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := sms.SetAttention(t.Context(), raised); err != nil || h.attention().Raised != raised {
			t.Errorf("%v: %v; raised: %v", raised, err, h.attention().Raised)
		}
	}
	stop()
	<-done
	if len(p.shown) < 3 || p.shown[0] || !p.shown[1] || p.shown[len(p.shown)-1] {
		t.Errorf("shown: %v", p.shown)
	}
}
