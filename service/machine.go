package service

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"ipmbd/bmc"
	"ipmbd/dbusapi"
	"ipmbd/host"
	"ipmbd/ipmi"
)

// machines are the machines behind the host interfaces, for the BMC. A request from a bus is about
// the machine of its host number. OpenBMC acts on machines that are not virtual.
type machines struct{ service *service }

// vmActions are the actions of a virtual machine. QEMU can switch a machine neither on nor off and
// on: a reset has the host start again.
var vmActions = map[bmc.Action]host.VMAction{
	bmc.PowerDown:                host.VMPowerOff,
	bmc.PowerCycle:               host.VMReset,
	bmc.HardReset:                host.VMReset,
	bmc.PulseDiagnosticInterrupt: host.VMNMI,
	bmc.SoftShutdown:             host.VMShutdown,
}

// transitions are the requests to OpenBMC's state management.
var transitions = map[bmc.Action]dbusapi.Transition{
	bmc.PowerDown:                dbusapi.ChassisOff,
	bmc.PowerUp:                  dbusapi.HostOn,
	bmc.PowerCycle:               dbusapi.ChassisCycle,
	bmc.HardReset:                dbusapi.HostReset,
	bmc.PulseDiagnosticInterrupt: dbusapi.HostNMI,
	bmc.SoftShutdown:             dbusapi.HostShutDown,
}

// find is the machine of an interface or, for a bus, of a host number; nil for none.
func (m machines) find(iface string, number int) *hostInterface {
	e := m.service.endpoints.named(iface)
	if e == nil || e.isBus {
		e = m.service.endpoints.find(func(e *endpoint) bool { return !e.isBus && e.host == number })
	}
	if e == nil {
		return nil
	}
	return e.hostInterface
}

// Act implements bmc.Machine.
func (m machines) Act(ctx context.Context, iface string, number int, a bmc.Action) error {
	h := m.find(iface, number)
	where := []zap.Field{zap.String("interface", iface), zap.Int("host", number)}
	m.service.log.Info("machine is told to", append([]zap.Field{zap.Stringer("action", a)}, where...)...)
	if h == nil || h.vm == nil {
		err := m.service.server.System().Request(ctx, number, transitions[a])
		if errors.Is(err, ipmi.ErrNotPresent) {
			return fmt.Errorf("%w: %v", ipmi.ErrUnsupported, err)
		}
		return err
	}
	switch {
	case !h.isUp():
		return fmt.Errorf("%w: no machine is connected", ipmi.ErrUnsupported)
	case a == bmc.PowerUp:
		return nil // It is on.
	case a == bmc.PowerCycle:
		m.service.log.Info("machine is reset: QEMU has no power cycle", where...)
	}
	err := h.vm.Act(ctx, vmActions[a])
	if errors.Is(err, host.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ipmi.ErrUnsupported, err)
	}
	return err
}

// Power implements bmc.Machine: a virtual machine is on while it is connected.
func (m machines) Power(iface string, number int) bmc.PowerState {
	off := m.service.server.Power().IsOff(number)
	if h := m.find(iface, number); h != nil && h.vm != nil {
		off = !h.isUp()
	}
	if off {
		return bmc.PowerOff
	}
	return bmc.PowerOn
}
