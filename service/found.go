package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/service/config"
)

// lookTime is how often the devices are looked for that nothing reports: attributes of
// slave-mqueue, which sysfs does not let watch.
const lookTime = 5 * time.Second

// devices are the IPMB devices of the machine. Without a configuration file the service serves
// each of them, from when it appears until the service ends. A device that goes stays, and is
// Down: a driver may be bound to it again.
type devices struct {
	list  func() []string
	watch func() (bus.Watch, error)
	// tried are the devices that were there at the last look. Each was tried once: one that an
	// administrator has removed, or that clashes with another one, is not tried at each look.
	tried []string
	stop  context.CancelFunc // ends the watch; nil while there is none
}

func thisMachine() devices {
	return devices{list: i2c.Devices, watch: func() (bus.Watch, error) { return i2c.WatchDevices() }}
}

// plansFor are the plans for a configuration with its defaults: its entries, and the devices that
// are there, if there is no file.
func (s *service) plansFor(c config.Config) []plan {
	plans := plansOf(c)
	if c.Found {
		s.devices.tried = s.devices.list()
		plans = append(plans, s.plansOfDevices(s.devices.tried, nil)...)
	}
	return plans
}

// newDevices returns plans for the devices that have not been tried.
func (s *service) newDevices() []plan {
	present := s.devices.list()
	added := slices.DeleteFunc(slices.Clone(present), func(device string) bool {
		return slices.Contains(s.devices.tried, device) || s.serves(device)
	})
	s.devices.tried = present
	return s.plansOfDevices(added, s.endpoints.plans())
}

// plansOfDevices returns plans for devices, without those that clash with others.
func (s *service) plansOfDevices(list []string, others []plan) (plans []plan) {
	for _, device := range list {
		p := planOf(config.FoundChannel(device).WithDefaults())
		if err := clash("channel", p, slices.Concat(others, plans)); err != nil {
			s.log.Warn("a device is not served: a configuration can give it another name",
				zap.String("device", device), zap.Error(err))
			continue
		}
		plans = append(plans, p)
	}
	return plans
}

// serves reports whether a bus has a device now. A bus moves its device to another path when its
// own address changes.
func (s *service) serves(device string) bool {
	return nil != s.endpoints.find(func(e *endpoint) bool { return e.isBus && e.bus.Properties().Device == device })
}

// addDevices serves the devices that are new.
func (s *service) addDevices(ctx context.Context) error {
	if !s.config.Found {
		return nil
	}
	s.removeMoved(ctx)
	plans := s.newDevices()
	if len(plans) == 0 {
		return nil
	}
	if err := s.setChannels(append(s.endpoints.plans(), plans...)); err != nil {
		return err
	}
	var errs []error
	for _, p := range plans {
		if err := s.addEndpoints(ctx, p); err != nil {
			errs = append(errs, err)
			continue
		}
		s.log.Info("found", p.field())
	}
	return errors.Join(append(errs, s.setChannels(s.endpoints.plans()))...)
}

// removeMoved removes the buses whose device has gone and whose name a new device needs: the same
// I2C bus has a device of slave-mqueue at another address.
func (s *service) removeMoved(ctx context.Context) {
	present := s.devices.list()
	for _, device := range present {
		name := config.FoundChannel(device).WithDefaults().Name
		e := s.endpoints.named(name)
		if slices.Contains(s.devices.tried, device) || e == nil || !isFound(e.plan) {
			continue
		}
		if now := e.bus.Properties().Device; now != device && !slices.Contains(present, now) {
			s.removeEndpoints(ctx, e)
			s.freeIndexes(e)
		}
	}
}

// isFound reports whether the service has found the device of a plan by itself.
func isFound(p plan) bool {
	c, ok := p.entry.(config.Channel)
	return ok && c.Found
}

// followDevices begins or ends the watch of the devices, as the configuration wants it.
func (s *service) followDevices(ctx context.Context) {
	s.servesFound.Store(s.config.Found)
	switch {
	case s.config.Found && s.devices.stop == nil:
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		s.devices.stop = stop
		s.lives.Go(func() { s.watchDevices(watching) })
	case !s.config.Found && s.devices.stop != nil:
		s.devices.stop()
		s.devices.stop = nil
	}
}

// watchDevices has new devices served until ctx ends.
func (s *service) watchDevices(ctx context.Context) {
	watch, err := s.devices.watch()
	if err != nil {
		s.log.Warn("devices are looked for, and not watched", zap.Duration("every", lookTime), zap.Error(err))
	} else {
		defer watch.Close()
	}
	var last []string
	for ctx.Err() == nil {
		if present := s.devices.list(); !slices.Equal(present, last) {
			last = present
			_ = s.change(ctx, s.addDevices) // makeChange logs an error.
		}
		waiting, cancel := context.WithTimeout(ctx, lookTime)
		if watch == nil || errors.Is(watch.Wait(waiting), os.ErrClosed) {
			<-waiting.Done()
		}
		cancel()
	}
}

// clash returns an error if an endpoint clashes with others.
func clash(key string, p plan, others []plan) error {
	var entries []config.Entry
	for _, other := range others {
		entries = append(entries, other.entry)
	}
	if err := config.Clash(key, p.entry, entries); err != nil {
		return fmt.Errorf("%w: %w", dbusapi.ErrTaken, err)
	}
	return nil
}
