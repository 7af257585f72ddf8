package openipmi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/ipmi"
)

// commandSet is a set of single commands, as the driver wants them.
type commandSet map[ipmi.Commands]bool

// wantedCommands returns the commands that the driver should pass on now: those that the default
// handler serves, and those that programs have registered for the channel.
func (l *link) wantedCommands() commandSet {
	wanted := make(commandSet)
	add := func(k ipmi.Commands) {
		if k.Command != ipmi.AnyCommand {
			wanted[k] = true
			return
		}
		for command := range 0x100 {
			wanted[ipmi.Commands{NetFn: k.NetFn, Command: ipmi.Command(command)}] = true
		}
	}
	for _, k := range l.config.Commands {
		add(k)
	}
	for _, r := range l.config.Mux.Registrations() {
		if !r.Reserved && r.Channels.Has(l.config.Channel) {
			add(ipmi.Commands{NetFn: r.NetFn, Command: r.Command})
		}
	}
	return wanted
}

// registerCommands registers wanted commands with the driver and unregisters the others, until ctx
// ends. have is the set that is registered. It returns the commands that other programs have
// registered.
func (l *link) registerCommands(ctx context.Context, d device, have commandSet) (refused []ipmi.Commands, err error) {
	wanted := l.wantedCommands()
	for k := range have {
		if wanted[k] {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := d.Register(k, false); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		delete(have, k)
	}
	for k := range wanted {
		if have[k] {
			continue
		}
		switch err := d.Register(k, true); {
		case err == nil:
			have[k] = true
		case errors.Is(err, unix.EBUSY):
			refused = append(refused, k)
		default:
			return nil, err
		}
	}
	return refused, nil
}

// updateCommands tells the driver which commands to pass on, warns of faults, and reports whether
// to retry.
func (l *link) updateCommands(ctx context.Context, d device, have commandSet) (again bool) {
	refused, err := l.registerCommands(ctx, d, have)
	warning := ""
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		warning = "commands are not passed on: " + err.Error()
	case len(refused) > 0:
		warning = "another program has " + someOf(refused)
	}
	l.bus.SetWarning(warning)
	return warning != ""
}

// someOf names commands, as many as people want to read.
func someOf(list []ipmi.Commands) string {
	const most = 3
	var names []string
	for _, k := range list {
		names = append(names, k.String())
	}
	slices.Sort(names)
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// followHandlers updates the driver's commands. The function that it returns goes on with that
// until ctx ends: when handlers come and go, and now and then while a command cannot be
// registered.
func (l *link) followHandlers(ctx context.Context, d device) (follow func()) {
	changed, unwatch := l.config.Mux.Watch()
	have := make(commandSet)
	again := l.updateCommands(ctx, d, have)
	return func() {
		defer unwatch()
		for {
			var retry <-chan time.Time
			if again {
				retry = time.After(bus.LastRetry)
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-retry:
			}
			again = l.updateCommands(ctx, d, have)
		}
	}
}
