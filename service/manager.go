package service

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/service/config"
)

// change is a change of the members that somebody waits for.
type change struct {
	do   func(ctx context.Context) error
	done chan<- error // has room
}

// manage makes changes, one after the other, until ctx ends. That cuts short what
// the one in progress waits for.
func (s *service) manage(ctx context.Context, reloads <-chan os.Signal) {
	defer close(s.settled)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case c := <-s.changes:
			err := s.logged(c.do(ctx))
			s.attendSockets()
			c.done <- err
		case <-reloads:
			_ = s.logged(s.reload(ctx))
			s.attendSockets()
		}
		s.statusChanged()
	}
}

// logged logs why a change was not made, a line for each fault: who has asked for it
// may be gone.
func (s *service) logged(err error) error {
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			s.log.Warn("not changed", zap.String("reason", strings.TrimSpace(line)))
		}
	}
	return err
}

// change has a change made and waits for its end, at most until ctx's; the change
// goes on then.
func (s *service) change(ctx context.Context, do func(context.Context) error) error {
	done := make(chan error, 1)
	return handOver(ctx, s.changes, change{do, done}, done, s.settled, dbusapi.ErrStopping)
}

// AddBus implements dbusapi.Manager.
func (s *service) AddBus(ctx context.Context, json string) (dbus.ObjectPath, error) {
	c, err := config.ParseChannel([]byte(json))
	if err != nil {
		return "", fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	return s.addOne(ctx, "channel", c.WithDefaults())
}

// AddHost implements dbusapi.Manager.
func (s *service) AddHost(ctx context.Context, json string) (dbus.ObjectPath, error) {
	e, err := config.ParseHost([]byte(json))
	if err != nil {
		return "", fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	return s.addOne(ctx, "host", e)
}

// addOne adds the member of an entry, with its defaults, which errors call key.
func (s *service) addOne(ctx context.Context, key string, e config.Entry) (dbus.ObjectPath, error) {
	c := newMemberConfig(e)
	var path dbus.ObjectPath // written by the one who makes the change
	err := s.change(ctx, func(ctx context.Context) error {
		if err := s.admit(ctx, key, c); err != nil {
			return err
		}
		before := s.members.configs()
		if err := s.setChannels(append(before, c)); err != nil {
			return err
		}
		if err := s.add(ctx, c); err != nil {
			_ = s.setChannels(before) // Nobody can have what was just ours.
			return err
		}
		path = s.members.named(c.name()).path()
		s.log.Info("added", nameField(c))
		return nil
	})
	if err != nil {
		return "", err
	}
	return path, nil
}

// admit is why a member cannot be beside those that there are.
func (s *service) admit(ctx context.Context, key string, c memberConfig) error {
	var others []config.Entry
	for _, other := range s.members.configs() {
		others = append(others, other.entry())
	}
	if err := config.Clash(key, c.entry(), others); err != nil {
		return fmt.Errorf("%w: %w", dbusapi.ErrTaken, err)
	}
	words, hostIPMI := c.busNames()
	return s.server.CheckNames(ctx, words, hostIPMI)
}

// RemoveBus implements dbusapi.Manager.
func (s *service) RemoveBus(ctx context.Context, path dbus.ObjectPath) error {
	return removeOne[*channel](ctx, s, "bus", path)
}

// RemoveHost implements dbusapi.Manager.
func (s *service) RemoveHost(ctx context.Context, path dbus.ObjectPath) error {
	return removeOne[*hostInterface](ctx, s, "host interface", path)
}

// removeOne removes the member of a kind at a path.
func removeOne[P part](ctx context.Context, s *service, kind string, path dbus.ObjectPath) error {
	return s.change(ctx, func(ctx context.Context) error {
		at := slices.IndexFunc(s.members.all(), func(m *member) bool {
			_, ok := m.part.(P)
			return ok && m.path() == path
		})
		if at < 0 {
			return fmt.Errorf("%w: no %s at %s", dbusapi.ErrNoMember, kind, path)
		}
		m := s.members.all()[at]
		s.remove(ctx, m)
		m.free()
		s.log.Info("removed", nameField(m.config))
		return s.setChannels(s.members.configs())
	})
}

// Reload implements dbusapi.Manager.
func (s *service) Reload(ctx context.Context) error { return s.change(ctx, s.reload) }
