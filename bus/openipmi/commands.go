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

// commands are the commands that a device is to pass on, since its driver wants each by itself:
// those that programs have registered for the channel, and those that the default handler serves.
type commands struct {
	mux     *ipmi.Mux
	channel ipmi.Channel
	always  []ipmi.Commands

	have map[ipmi.Commands]bool // of the device that is open
}

// wanted is what the driver should pass on now.
func (c *commands) wanted() map[ipmi.Commands]bool {
	wanted := make(map[ipmi.Commands]bool)
	add := func(k ipmi.Commands) {
		if k.Command != ipmi.AnyCommand {
			wanted[k] = true
			return
		}
		for command := range 0x100 {
			wanted[ipmi.Commands{NetFn: k.NetFn, Command: ipmi.Command(command)}] = true
		}
	}
	for _, k := range c.always {
		add(k)
	}
	for _, r := range c.mux.Registrations() {
		if !r.Reserved && r.Channels.Has(c.channel) {
			add(ipmi.Commands{NetFn: r.NetFn, Command: r.Command})
		}
	}
	return wanted
}

// sync registers with the driver what is wanted and unregisters what is not any more, until ctx
// ends. It returns what other programs have.
func (c *commands) sync(ctx context.Context, d device) (refused []ipmi.Commands, err error) {
	wanted := c.wanted()
	for k := range c.have {
		if wanted[k] {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := d.Unregister(k.NetFn, k.Command); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		delete(c.have, k)
	}
	for k := range wanted {
		if c.have[k] {
			continue
		}
		switch err := d.Register(k.NetFn, k.Command); {
		case err == nil:
			c.have[k] = true
		case errors.Is(err, unix.EBUSY):
			refused = append(refused, k)
		default:
			return nil, err
		}
	}
	return refused, nil
}

// sync tells the driver what to pass on. What is wrong with that is the warning of the bus.
func (l *link) sync(ctx context.Context, d device) (again bool) {
	refused, err := l.commands.sync(ctx, d)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		l.bus.SetWarning("commands are not passed on: " + err.Error())
		return true
	case len(refused) > 0:
		l.bus.SetWarning("another program has " + someOf(refused))
		return true
	}
	l.bus.SetWarning("")
	return false
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

// keep keeps the driver's commands as they should be until ctx ends: when handlers come and go,
// and now and then while something is wrong.
func (l *link) keep(ctx context.Context, d device, changed <-chan struct{}, again bool) {
	timer := time.NewTimer(bus.LastRetry)
	defer timer.Stop()
	for {
		var retry <-chan time.Time
		if again {
			timer.Reset(bus.LastRetry)
			retry = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-retry:
		}
		again = l.sync(ctx, d)
	}
}
