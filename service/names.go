package service

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
)

const (
	// nameTime is how long a start waits for bus names that somebody has, who may be
	// about to end; and so how often systemd tries again in vain.
	nameTime = 5 * time.Second
	// namePause is how often it looks.
	namePause = 200 * time.Millisecond
)

// awaitNames waits until the bus names that the configuration needs are free. It
// comes before anything is opened: who has the names may have the devices.
func (s *service) awaitNames(ctx context.Context) error {
	members := memberConfigs(s.config)
	err := s.checkNames(ctx, members)
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
			err = s.checkNames(ctx, members)
		case <-end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// checkNames says whether the bus names that members need are free, or ours.
func (s *service) checkNames(ctx context.Context, members []memberConfig) error {
	if err := s.server.CheckNames(ctx, nil, false); err != nil {
		return err
	}
	for _, c := range members {
		words, hostIPMI := c.busNames()
		if err := s.server.CheckNames(ctx, words, hostIPMI); err != nil {
			return &memberError{c.entry().Title(), err}
		}
	}
	return nil
}
