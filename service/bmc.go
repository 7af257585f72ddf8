package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/host"
	"ipmbd/internal/openbmc"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openBMC opens the built-in BMC. Its own events go the way of all others.
func (s *service) openBMC() error {
	c := s.config.BMC
	sensors := make([]bmc.SensorConfig, len(c.Sensors))
	for i, each := range c.Sensors {
		sensors[i] = each.SensorConfig
		if each.Property != (config.Property{}) {
			p := newSensorProperty(each.Property)
			s.properties = append(s.properties, p)
			sensors[i].Read = p.last
		}
	}
	s.blocking = ipmi.NewBlocking(nil) // each request brings its function
	var outside atomic.Pointer[error]  // why the sandbox does not allow the folder
	b, err := bmc.Open(bmc.Config{
		Identity: c.Identity, GUID: c.GUID, Folder: c.Folder, LogCapacity: c.LogCapacity,
		Sensors: sensors, Controllers: c.Controllers, FRUs: c.FRUs,
		Blocking: s.blocking, Machine: machines{s}, Watchdog: s.watchdogExpired, LogEvent: s.reportEvent,
		HostReset: func(host int) { s.bridge.HostReset(host) },
		ColdReset: func(host int) { s.bridge.ColdReset(host) },
		Report:    func(err error) { s.log.Error("fault of the BMC's journal", zap.Error(err)) },
		DiskState: func(cause error) {
			if isOutsideSandbox(c.Folder, cause) {
				outside.Store(&cause)
				return
			}
			s.diskState(cause)
		},
		SensorFault: s.sensorFault,
		PreTimeout: func(iface string, pending bool) {
			if e := s.endpoints.named(iface); e != nil {
				e.iface.SetPreTimeout(pending)
			}
		},
	})
	if err != nil {
		return explainPath(folderKey, c.Folder, err)
	}
	if cause := outside.Load(); cause != nil {
		return errors.Join(explainPath(folderKey, c.Folder, *cause), b.Close())
	}
	s.bmc = b
	return nil
}

const folderKey = "bmc.folder"

// diskState tells everywhere that the BMC cannot use its folder, or can again.
func (s *service) diskState(cause error) {
	if cause == nil {
		s.log.Info("the state of the BMC is on the disk again")
		s.setFault(folderKey, "")
		return
	}
	s.log.Error("the state of the BMC is in memory only: its folder cannot be used; it is tried again each minute",
		zap.Error(cause))
	s.setFault(folderKey, cause.Error()+": the state of the BMC is in memory only")
}

// sensorFault logs that a sensor has become unavailable, or is available again.
func (s *service) sensorFault(sensor string, cause error) {
	if cause == nil {
		s.log.Info("sensor has a reading again", zap.String("sensor", sensor))
		return
	}
	s.log.Warn("sensor is unavailable", zap.String("sensor", sensor), zap.Error(cause))
}

// moveLAN gives a channel to the interface of the BMC's LAN, which its own events come from.
func (s *service) moveLAN(channel ipmi.Channel) {
	before := s.own.Load()
	if before != nil && s.lan == channel {
		return
	}
	now := s.bridge.NewInterface(bridge.InterfaceConfig{
		Name: "lan", Channel: channel, Medium: bridge.MediumLAN, Protocol: bridge.ProtocolIPMB,
	})
	s.lan = channel
	s.own.Store(now)
	if before != nil {
		s.bridge.Remove(before)
	}
	s.bridge.Add(now, nil)
}

// pollTime is how often sensors are read.
const pollTime = time.Second

// pollSensors raises the events of the sensors until ctx ends.
func (s *service) pollSensors(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { askForProperties(ctx, &s.platform.System, s.properties) })
	eachTick(ctx, pollTime, func() {
		s.bmc.PollSensors(func(e ipmi.Event) { s.reportEvent(ctx, e) })
	})
}

// lanChannel returns the first channel number that is free for the BMC's LAN parameters: the BMC
// has no LAN, but programs ask for the parameters anyway.
func lanChannel(taken ipmi.ChannelMask) ipmi.Channel {
	for c := bmc.DefaultLANChannel; c <= ipmi.ChannelMaxImplemented; c++ {
		if !taken.Has(c) {
			return c
		}
	}
	return bmc.DefaultLANChannel
}

// watchdogExpired reports the action of a watchdog to the log and on D-Bus.
func (s *service) watchdogExpired(iface string, number int, e bmc.Expiry) {
	log := s.log.Warn
	if e.Err != nil {
		log = s.log.Error
	}
	w := dbusapi.WatchdogExpired{
		PreTimeout: e.PreTimeout, Use: uint8(e.Use), Action: uint8(e.Action), Interrupt: uint8(e.Interrupt),
	}
	log("watchdog", zap.String("interface", iface), zap.Int("host", number),
		zap.Bool("pre-timeout", w.PreTimeout), zap.Uint8("use", w.Use), zap.Uint8("action", w.Action),
		zap.Uint8("interrupt", w.Interrupt), zap.Error(e.Err))
	if h := (machines{s}).find(iface, number); h != nil {
		h.object.WatchdogExpired(w)
	}
}

// reportEvent has an event of the BMC's own logged. An event of a sensor has no interface.
func (s *service) reportEvent(ctx context.Context, e ipmi.Event) {
	i := s.own.Load()
	if from := s.endpoints.named(e.Interface); from != nil {
		i = from.iface
	}
	if err := i.Report(ctx, e); err != nil {
		s.log.Error("event of the BMC is lost", zap.Stringer("event", e), zap.Error(err))
	}
}

const (
	// systemLogTime is how long the system's log has for an event, at most half of the time left.
	systemLogTime = 2 * time.Second
	// systemLogPause is how long the system's log is not asked after it has not answered.
	systemLogPause = 30 * time.Second
)

var errSystemLogHangs = errors.New("it does not answer")

// eventLog keeps events in the system's log where there is one, and else in the built-in one.
type eventLog struct {
	system bridge.Log
	own    bridge.Log
	log    *zap.Logger
	full   atomic.Bool // it was logged that the built-in one is full
	// hung is when the system's log did not answer, in nanoseconds since 1970; 0 if it does. Events
	// do not wait for it then: each would hold up the requests and the poll behind it.
	hung atomic.Int64
}

// Add implements bridge.Log. The built-in log keeps an event if the system's log may have missed
// it.
func (l *eventLog) Add(ctx context.Context, e ipmi.Event) error {
	l.log.Debug("event", zap.String("bus", e.Interface), zap.Stringer("event", e))
	err := l.addToSystem(ctx, e)
	if err == nil {
		return nil
	}
	// An event that was logged but not acknowledged would come again.
	if ctx.Err() != nil {
		return ipmi.ErrTooSlow
	}
	if !errors.Is(err, ipmi.ErrNotPresent) && !errors.Is(err, errSystemLogHangs) {
		l.log.Warn("the system's log did not take the event; it is in the built-in log",
			zap.String("bus", e.Interface), zap.Error(err))
	}
	err = l.own.Add(ctx, e)
	if full := errors.Is(err, ipmi.ErrNoSpace); l.full.Swap(full) != full && full {
		l.log.Error("the built-in event log is full: events are refused until it is cleared: ipmbctl sel clear")
	}
	return err
}

func (l *eventLog) addToSystem(ctx context.Context, e ipmi.Event) error {
	if hung := l.hung.Load(); hung != 0 && time.Since(time.Unix(0, hung)) < systemLogPause {
		return errSystemLogHangs
	}
	limit := systemLogTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.system.Add(limited, e)
	var now int64
	if limited.Err() != nil && ctx.Err() == nil {
		err, now = errSystemLogHangs, time.Now().UnixNano()
	}
	switch before := l.hung.Swap(now); {
	case before == 0 && now != 0:
		l.log.Warn("the system's log does not answer: events are in the built-in log")
	case before != 0 && now == 0:
		l.log.Info("the system's log answers again")
	}
	return err
}

// machines are the machines behind the host interfaces, for the BMC. A request from a bus concerns
// the machine with the host number of the bus. OpenBMC acts on machines that are not virtual.
type machines struct{ service *service }

// vmActions are the actions of a virtual machine, which QEMU can switch neither on nor off and on.
var vmActions = map[bmc.Action]host.VMAction{
	bmc.PowerDown:                host.VMPowerOff,
	bmc.PowerCycle:               host.VMReset,
	bmc.HardReset:                host.VMReset,
	bmc.PulseDiagnosticInterrupt: host.VMNMI,
	bmc.SoftShutdown:             host.VMShutdown,
}

// transitions are the requests to OpenBMC's state management.
var transitions = map[bmc.Action]openbmc.Transition{
	bmc.PowerDown:                openbmc.ChassisOff,
	bmc.PowerUp:                  openbmc.HostOn,
	bmc.PowerCycle:               openbmc.ChassisCycle,
	bmc.HardReset:                openbmc.HostReset,
	bmc.PulseDiagnosticInterrupt: openbmc.HostNMI,
	bmc.SoftShutdown:             openbmc.HostShutDown,
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

func (m machines) Act(ctx context.Context, iface string, number int, a bmc.Action) error {
	h := m.find(iface, number)
	where := []zap.Field{zap.String("interface", iface), zap.Int("host", number)}
	m.service.log.Info("machine is told to", append([]zap.Field{zap.Stringer("action", a)}, where...)...)
	if h == nil || h.vm == nil {
		err := m.service.platform.System.Request(ctx, number, transitions[a])
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
	off := m.service.platform.Power.IsOff(number)
	if h := m.find(iface, number); h != nil && h.vm != nil {
		off = !h.isUp()
	}
	if off {
		return bmc.PowerOff
	}
	return bmc.PowerOn
}
