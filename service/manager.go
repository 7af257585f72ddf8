package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/service/config"
)

// change is a change of the endpoints.
type change struct {
	do   func(ctx context.Context) error
	done chan<- error // has room
}

// makeChanges makes changes, one after the other, until ctx ends, which cuts one short.
func (s *service) makeChanges(ctx context.Context, reloads <-chan os.Signal) {
	defer close(s.settled)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case c := <-s.changes:
			c.done <- s.makeChange(ctx, c.do)
		case <-reloads:
			_ = s.makeChange(ctx, s.reload)
		}
		s.statusChanged()
	}
}

// makeChange makes a change, and logs each fault: the client that asked may be gone.
func (s *service) makeChange(ctx context.Context, do func(context.Context) error) error {
	err := do(ctx)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			s.log.Warn("not changed", zap.String("reason", strings.TrimSpace(line)))
		}
	}
	s.refuseOthers()
	return err
}

// change has a change made and waits for its end, at most until ctx ends; the change goes on then.
func (s *service) change(ctx context.Context, do func(context.Context) error) error {
	done := make(chan error, 1)
	return bus.HandOver(ctx, s.changes, change{do, done}, done, s.settled, dbusapi.ErrStopping)
}

func (s *service) AddBus(ctx context.Context, json string) (dbus.ObjectPath, error) {
	c, warnings, err := config.ParseChannel([]byte(json))
	if err != nil {
		return "", fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	s.warn(warnings)
	return s.addOne(ctx, "channel", planOf(c.WithDefaults()))
}

func (s *service) AddHost(ctx context.Context, json string) (dbus.ObjectPath, error) {
	e, warnings, err := config.ParseHost([]byte(json))
	if err != nil {
		return "", fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	s.warn(warnings)
	return s.addOne(ctx, "host", planOf(e))
}

// addOne adds an endpoint, whose entry errors call key.
func (s *service) addOne(ctx context.Context, key string, p plan) (path dbus.ObjectPath, err error) {
	err = s.change(ctx, func(ctx context.Context) error {
		before := s.endpoints.plans()
		if err := s.admit(ctx, key, p, before); err != nil {
			return err
		}
		if err := s.setChannels(append(before, p)); err != nil {
			return err
		}
		if err := s.addEndpoints(ctx, p); err != nil {
			_ = s.setChannels(before) // No program can have registered the commands that were just ours.
			return err
		}
		path = s.endpoints.named(p.name).path
		s.log.Info("added", p.field())
		return nil
	})
	if err != nil {
		return "", err
	}
	return path, nil
}

// admit returns an error if an endpoint clashes with the existing ones.
func (s *service) admit(ctx context.Context, key string, p plan, others []plan) error {
	if err := clash(key, p, others); err != nil {
		return err
	}
	return s.server.CheckNames(ctx, p.words, p.hostIPMI)
}

func (s *service) RemoveBus(ctx context.Context, path dbus.ObjectPath) error {
	return s.removeOne(ctx, true, "bus", path)
}

func (s *service) RemoveHost(ctx context.Context, path dbus.ObjectPath) error {
	return s.removeOne(ctx, false, "host interface", path)
}

// removeOne removes the endpoint of a kind at a path.
func (s *service) removeOne(ctx context.Context, isBus bool, kind string, path dbus.ObjectPath) error {
	return s.change(ctx, func(ctx context.Context) error {
		e := s.endpoints.find(func(e *endpoint) bool { return e.isBus == isBus && e.path == path })
		if e == nil {
			return fmt.Errorf("%w: no %s at %s", dbusapi.ErrNoEndpoint, kind, path)
		}
		s.removeEndpoints(ctx, e)
		s.freeIndexes(e)
		s.log.Info("removed", e.field())
		return s.setChannels(s.endpoints.plans())
	})
}

func (s *service) Reload(ctx context.Context) error { return s.change(ctx, s.reload) }

// reload makes all as the configuration file now has it. It changes nothing if it finds a fault.
func (s *service) reload(ctx context.Context) error {
	if s.find == nil {
		return dbusapi.ErrNoFile
	}
	// Time and READY=1 tell systemd of begin and end (sd_notify(3), Type=notify-reload).
	_ = notify(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()) // A failure of READY=1 at the start would have ended that.
	defer func() { _ = notify("READY=1", s.status()) }()
	source := s.find()
	next, err := s.readAgain(ctx, source)
	if err != nil {
		return err
	}
	gone, wanted := s.compare(next)
	if err := s.setChannels(append(s.endpoints.plans(), wanted...)); err != nil {
		return err
	}
	s.adopt(next)
	s.followDevices(ctx)
	s.removeEndpoints(ctx, gone...)
	var errs []error
	for _, p := range wanted {
		errs = append(errs, s.addEndpoints(ctx, p))
	}
	s.freeIndexes(gone...)
	errs = append(errs, s.setChannels(s.endpoints.plans()))
	s.log.Info("reloaded", zap.String("file", source.Path), zap.Int("ended", len(gone)), zap.Int("begun", len(wanted)))
	return errors.Join(errs...)
}

// warn logs the warnings about a configuration.
func (s *service) warn(warnings []config.Fault) {
	for _, warning := range warnings {
		s.log.Warn("configuration", zap.String("warning", warning.Error()))
	}
}

// readAgain reads the file, and says what of it cannot be.
func (s *service) readAgain(ctx context.Context, source config.Source) (config.Config, error) {
	read, warnings, err := config.Load(source)
	if err != nil {
		return config.Config{}, fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	s.warn(warnings)
	next := read.WithDefaults()
	if !reflect.DeepEqual(next.BMC, s.config.BMC) {
		return config.Config{}, fmt.Errorf("%w: bmc: has changed in %s", dbusapi.ErrRestart, source)
	}
	if next.FrameSocket != s.config.FrameSocket {
		return config.Config{}, fmt.Errorf("%w: frame-socket: has changed in %s", dbusapi.ErrRestart, source)
	}
	return next, s.checkNames(ctx, plansOf(next))
}

// compare returns the entries that are not in the next configuration, and those that are only
// there. An entry that differs is in both lists, and so are all channels if the file is or was
// ipmbbridge's: that decides how a device is opened.
func (s *service) compare(next config.Config) (gone []*endpoint, wanted []plan) {
	wanted = s.plansFor(next)
	otherKind := next.OfIPMBBridge != s.config.OfIPMBBridge
	for _, e := range s.endpoints.all() {
		i := slices.IndexFunc(wanted, func(p plan) bool {
			_, isChannel := p.entry.(config.Channel)
			return reflect.DeepEqual(p.entry, e.entry) && !(isChannel && otherKind)
		})
		if i < 0 {
			gone = append(gone, e)
		} else {
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	return gone, wanted
}

// adopt makes the keys beside channels and hosts hold from now on.
func (s *service) adopt(next config.Config) {
	s.config = next
	s.server.SetSignalNames(next.TrustedNames)
	s.server.SetMaxCallsPerSender(next.MaxCallsPerSender)
	s.frames.SetMaxCalls(next.MaxCallsPerSender)
	for _, e := range s.endpoints.all() {
		e.filter.set(next.Filters)
	}
}

const (
	// nameTime is how long a start waits for bus names that another program has, which may be
	// about to end. It is also how often systemd starts the service again.
	nameTime = 5 * time.Second
	// namePause is how often the start looks.
	namePause = 200 * time.Millisecond
)

// awaitNames waits until the bus names that the configuration needs are free. The service calls it
// before it opens anything: the program that has the names may have the devices.
func (s *service) awaitNames(ctx context.Context) error {
	plans := plansOf(s.config)
	err := s.checkNames(ctx, plans)
	if !errors.Is(err, dbusapi.ErrNameTaken) {
		return err
	}
	s.log.Warn("waiting for a bus name", zap.Error(err), zap.Duration("longest", nameTime))
	again := time.NewTicker(namePause)
	defer again.Stop()
	end := time.After(nameTime)
	for errors.Is(err, dbusapi.ErrNameTaken) {
		select {
		case <-again.C:
			err = s.checkNames(ctx, plans)
		case <-end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// checkNames says whether the bus names that endpoints need are free, or ours.
func (s *service) checkNames(ctx context.Context, plans []plan) error {
	if err := s.server.CheckNames(ctx, nil, false); err != nil {
		return err
	}
	for _, p := range plans {
		if err := s.server.CheckNames(ctx, p.words, p.hostIPMI); err != nil {
			return fmt.Errorf("%s: %w", p.entry.Title(), err)
		}
	}
	return nil
}
