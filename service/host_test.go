package service

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"ipmbd/bus"
	"ipmbd/service/config"
)

// TestHostDeviceThatIsNotThere: an interface that was never open ends as others do.
func TestHostDeviceThatIsNotThere(t *testing.T) {
	for _, kind := range []config.HostType{config.HostKCS, config.HostBT, config.HostSSIF} {
		h := &hostInterface{config: config.Host{Type: kind, Path: filepath.Join(t.TempDir(), "none")}, log: zap.NewNop()}
		h.Lifecycle = bus.NewLifecycle(h, func() {}, func(bus.State, string) {})
		h.Open(t.Context())
		if state, reason := h.State(); state != bus.Down || reason == "" {
			t.Errorf("%v: %s, %q", kind, state, reason)
		}
		h.Run(ended())
		if _, reason := h.State(); reason != stopped {
			t.Errorf("%v: %q", kind, reason)
		}
	}
}
