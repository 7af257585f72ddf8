package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"go.uber.org/zap"
	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/bus/i2cbus"
	"ipmbd/dbusapi"
	"ipmbd/frames"
	"ipmbd/internal/openbmc"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// retryTime is how often the service tries again what could not be used.
const retryTime = time.Minute

// replyTime is how long the message bus may take to read the last replies.
const replyTime = 500 * time.Millisecond

// Options are the arguments of Run.
type Options struct {
	Config config.Config
	Find   func() config.Source // from which Config is read again; nil for none
	Reload <-chan os.Signal     // each has it read again
	Bus    string               // of D-Bus: "system", "session", or an address
	Demo   bool                 // the buses of DemoConfig are simulated
	Log    *zap.Logger

	devices *devices // of a test's machine; nil is this machine
}

// service is the graph. It implements dbusapi.Manager.
type service struct {
	log  *zap.Logger
	find func() config.Source // of Options
	// config has everything except the channels and hosts, which the endpoints have. Only the
	// goroutine that changes the endpoints uses it.
	config   config.Config
	server   *dbusapi.Server
	platform *openbmc.Services
	mux      ipmi.Mux
	reserved *ipmi.Registration // the commands that the bridge serves
	bridge   *bridge.Bridge
	bmc      *bmc.BMC
	// blocking serves requests that may block: on the BMC's journal, and the event log.
	blocking   *ipmi.Blocking
	properties []*sensorProperty                // of the BMC's sensors whose values are on D-Bus
	own        atomic.Pointer[bridge.Interface] // of the BMC's own events
	lan        ipmi.Channel                     // of own
	frames     *frames.Server
	buses      bus.Directory[*bus.Bus]
	devices    devices
	// servesFound: the service serves each device that it finds.
	servesFound atomic.Bool
	demo        *demo          // nil for real buses
	sockets     *passedSockets // by systemd
	// frameListener is the frame socket; nil when there is none.
	frameListener *net.UnixListener

	endpoints endpoints
	lives     sync.WaitGroup // of the endpoints
	engines   i2cbus.Engines
	changes   chan change
	settled   chan struct{} // closed when no more changes are made
	faults    faults
	changed   chan struct{} // the state of a bus may have changed
}

// stopTime is how long a stop may take, less than systemd waits (TimeoutStopSec=).
const stopTime = 8 * time.Second

// Run is the service, from its start until ctx ends (nil) or it cannot go on. A part that hangs,
// such as a write in the kernel, does not hold the end up for more than stopTime: Run leaves it
// behind.
func Run(ctx context.Context, o Options) error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(stopTime):
			o.Log.Warn("a part of ipmbd hangs and is left behind")
		}
	}
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return nil // The start was cut short, as asked.
	}
	return err
}

func run(ctx context.Context, o Options) error {
	s := &service{
		log: o.Log, find: o.Find, config: o.Config.WithDefaults(),
		devices: thisMachine(), changes: make(chan change), settled: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	if o.devices != nil {
		s.devices = *o.devices
	}
	if o.Demo {
		var err error
		if s.demo, err = newDemo(); err != nil {
			return err
		}
	}
	s.frames = frames.NewServer(frames.Config{
		Bus: s.buses.Find, MaxCalls: s.config.MaxCallsPerSender, HungUp: s.logDisconnect,
	})
	connected := s.logWait("the message bus to answer", zap.String("bus", o.Bus))
	server, err := dbusapi.Open(ctx, dbusapi.Config{
		Address: o.Bus, SignalNames: s.config.TrustedNames, MaxCallsPerSender: s.config.MaxCallsPerSender,
		Mux: &s.mux, Manager: s, Statistics: s.frames.Statistics,
	})
	connected()
	if err != nil {
		return err
	}
	defer server.Close()
	s.server, s.platform = server, openbmc.New(o.Bus)
	defer s.platform.Close()
	if err := s.awaitNames(ctx); err != nil {
		return err
	}
	if err := s.openBMC(); err != nil {
		return err
	}
	defer func() {
		s.blocking.Close()
		if err := s.bmc.Close(); err != nil {
			s.log.Error("the BMC's journal may be incomplete", zap.Error(err))
		}
	}()
	if err := s.openHandlers(); err != nil {
		return err
	}
	const unsetEnvironment = true
	s.sockets = takeSockets(activation.Files(unsetEnvironment), s.log)
	defer s.sockets.close()
	if err := s.listenFrames(ctx); err != nil {
		return err
	}
	defer s.closeFrames()
	return s.run(ctx, o.Reload)
}

// run serves until ctx ends or a connection to the message bus is lost.
func (s *service) run(ctx context.Context, reloads <-chan os.Signal) error {
	// The loops outlive ctx by the time that calls have to end.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var loops sync.WaitGroup
	lost := make(chan error, 1)
	loops.Go(func() { lost <- s.server.Run(running) })
	loops.Go(func() { s.bridge.Run(running) })
	loops.Go(func() { s.bmc.Run(running) })
	if len(s.config.BMC.Sensors) > 0 {
		loops.Go(func() { s.pollSensors(running) })
	}
	loops.Go(func() { s.platform.Power.Run(running, s.bmc.HostGone) })
	if s.demo != nil {
		loops.Go(func() { s.demo.run(running) })
	}

	// Clients of the frame socket outlive the buses: they get the failures of calls that end with
	// them.
	framing, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	err := s.start(ctx)
	if err == nil {
		if s.frameListener != nil || s.config.FrameSocket != "" {
			path := s.config.FrameSocket
			loops.Go(func() { s.runFrames(framing, path, s.frameListener) })
		}
		loops.Go(func() { s.tellStatus(running) })
		loops.Go(func() { s.feedWatchdog(running) })
		err = s.serveUntilStop(ctx, reloads, lost, &loops)
	}
	select {
	case <-s.settled: // No more changes are made.
		s.stopEndpoints()
		if err == nil {
			s.awaitReplies(ctx)
		}
	default:
	}
	stop()
	hangUp()
	// The endpoints and loops may hang in a write to a message bus that reads no more.
	err = errors.Join(err, s.server.Close(), s.platform.Close())
	loops.Wait()
	s.stopEndpoints() // also the endpoints of a change that was delayed
	s.lives.Wait()
	return err
}

func (s *service) stopEndpoints() {
	if s.devices.stop != nil {
		s.devices.stop()
	}
	for _, e := range s.endpoints.all() {
		e.stop()
	}
}

// start makes the endpoints of the configuration, and says that they serve.
func (s *service) start(ctx context.Context) error {
	defer s.logWait("the message bus to give its names, and the buses to begin")()
	plans := s.plansFor(s.config)
	if err := s.setChannels(plans); err != nil {
		return err
	}
	if err := s.addEndpoints(ctx, plans...); err != nil {
		return err
	}
	if s.config.Found {
		s.log.Info("no configuration file: each IPMB device is served")
	}
	s.followDevices(ctx)
	s.refuseOthers()
	if err := notify("READY=1", s.status()); err != nil {
		return err
	}
	buses := slices.DeleteFunc(plans, func(p plan) bool { return !p.isBus })
	s.log.Info("serving", zap.Int("buses", len(buses)))
	return nil
}

// serveUntilStop makes changes until ctx ends or a connection to the message bus is lost. Then it
// lets calls and requests in progress end.
func (s *service) serveUntilStop(
	ctx context.Context, reloads <-chan os.Signal, lost <-chan error, loops *sync.WaitGroup,
) error {
	changing, stop := context.WithCancel(ctx)
	loops.Go(func() { s.makeChanges(changing, reloads) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-lost:
	}
	stop()
	select {
	case <-s.settled:
	case <-time.After(drainTime): // The message bus reads no more, and a change waits for it.
	}
	if ctx.Err() != nil {
		err = errors.Join(err, s.drain(context.WithoutCancel(ctx), loops))
	}
	return err
}

// drain gives the bus names back and lets calls and requests in progress end.
func (s *service) drain(ctx context.Context, loops *sync.WaitGroup) error {
	s.log.Info("stopping")
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	_ = notify("STOPPING=1") // systemd has asked for the stop, or has gone.
	var err error
	released := make(chan error, 1)
	loops.Go(func() { released <- s.server.ReleaseNames(ctx) })
	select {
	case failed := <-released:
		err = errors.Join(err, failed)
	case <-ctx.Done(): // The message bus reads no more.
	}
	var draining sync.WaitGroup
	draining.Go(func() { s.server.Drain(ctx) })
	draining.Go(func() { s.frames.Drain(ctx) })
	eachEndpoint(s.endpoints.all(), func(e *endpoint) { e.Drain(ctx) })
	draining.Wait()
	return err
}

// awaitReplies waits until the calls that ended with the buses have been replied to.
func (s *service) awaitReplies(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replyTime)
	defer cancel()
	var telling sync.WaitGroup
	telling.Go(func() { s.frames.Drain(ctx) })
	s.server.Drain(ctx)
	telling.Wait()
}

// ErrWrongConfig: the configuration asks for something that this system can never do.
var ErrWrongConfig = errors.New("wrong configuration")

// explainPath says what to do about an error in making something at the path under a key.
func explainPath(key, path string, err error) error {
	if isOutsideSandbox(path, err) {
		return fmt.Errorf("%w: %s: %w: ipmbd must be allowed to write there: its unit allows "+
			"/var/lib/ipmbd and /run/ipmbd, by StateDirectory= and ReadWritePaths=", ErrWrongConfig, key, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrWrongConfig, key, err)
}
