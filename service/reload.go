package service

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/service/config"
)

// reload makes all as the file has it: the one that a start would read now. What can
// be known to go wrong is looked for before anything is changed.
func (s *service) reload(ctx context.Context) (err error) {
	if s.find == nil {
		return dbusapi.ErrNoFile
	}
	// What has gone wrong with READY=1, at the start, has ended that.
	_ = reloading()
	defer func() { _ = notify("READY=1", s.status()) }()
	file, err := s.find()
	if err != nil {
		return fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	next, err := s.readAgain(ctx, file)
	if err != nil {
		return err
	}
	gone, wanted := s.compare(next)
	if err := s.setChannels(append(s.members.configs(), wanted...)); err != nil {
		return err
	}
	s.obey(next)
	s.remove(ctx, gone...)
	var errs []error
	for _, c := range wanted {
		errs = append(errs, s.add(ctx, c))
	}
	free(gone)
	errs = append(errs, s.setChannels(s.members.configs()))
	s.log.Info("reloaded", zap.String("file", file), zap.Int("ended", len(gone)), zap.Int("begun", len(wanted)))
	return errors.Join(errs...)
}

// readAgain reads the file, and says what of it cannot be.
func (s *service) readAgain(ctx context.Context, file string) (config.Config, error) {
	read, warnings, err := config.Load(file)
	if err != nil {
		return config.Config{}, fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	for _, warning := range warnings {
		s.log.Warn("configuration", zap.Stringer("warning", warning))
	}
	next := read.WithDefaults()
	if !reflect.DeepEqual(next.BMC, s.config.BMC) {
		return config.Config{}, fmt.Errorf("%w: bmc: has changed in %s", dbusapi.ErrRestart, file)
	}
	if next.FrameSocket != s.config.FrameSocket {
		return config.Config{}, fmt.Errorf("%w: frame-socket: has changed in %s", dbusapi.ErrRestart, file)
	}
	return next, s.checkNames(ctx, memberConfigs(next))
}

// compare is what is not in the next configuration, and what is only there. What
// differs is both, as are all channels if the file is ipmbbridge's now, or was: that
// says how a device is opened.
func (s *service) compare(next config.Config) (gone []*member, wanted []memberConfig) {
	wanted = memberConfigs(next)
	otherKind := next.OfIPMBBridge != s.config.OfIPMBBridge
	for _, m := range s.members.all() {
		i := slices.IndexFunc(wanted, func(c memberConfig) bool {
			_, isChannel := c.(channelConfig)
			return reflect.DeepEqual(c, m.config) && !(isChannel && otherKind)
		})
		if i < 0 {
			gone = append(gone, m)
		} else {
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	return gone, wanted
}

// obey makes the keys beside channels and hosts hold from now on.
func (s *service) obey(next config.Config) {
	s.config = next
	s.server.SetSignalNames(next.TrustedNames)
	s.server.SetMaxCallsPerSender(next.MaxCallsPerSender)
	s.frames.SetMaxCalls(next.MaxCallsPerSender)
	for _, m := range s.members.all() {
		m.obey(next)
	}
}
