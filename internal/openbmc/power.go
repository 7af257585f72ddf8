package openbmc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Power follows whether hosts have power, as OpenBMC's state management knows it:
// CurrentPowerState of xyz.openbmc_project.State.Chassis. Its methods may be called from several
// goroutines at once.
type Power struct {
	address string
	wake    chan struct{} // the known states may have changed

	mu  sync.Mutex
	off map[int]bool // by host
	on  map[int]bool // whether a host had power when its state was last known
}

// Follow follows a host from now on.
func (p *Power) Follow(host int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.off[host]; !known {
		p.off[host] = false
		p.changed()
	}
}

// IsOff reports whether a host is followed and has no power. A host whose state is unknown is not
// off.
func (p *Power) IsOff(host int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off[host]
}

// changed wakes Run.
func (p *Power) changed() {
	select {
	case p.wake <- struct{}{}:
	default: // It has been woken already.
	}
}

const (
	// powerRetry is how long after a connection was lost the next one is made.
	powerRetry = time.Second
	// powerTime is how long the service may take to return the state.
	powerTime = 2 * time.Second
)

// Run follows the hosts until ctx ends. It calls gone when a host has lost its power. A host that
// was off when its state became known has not lost it: boot flags that wait for it stay.
func (p *Power) Run(ctx context.Context, gone func(host int)) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.followHosts(ctx, gone)
		p.changed() // to begin again
		select {
		case <-ctx.Done():
		case <-time.After(powerRetry):
		}
	}
}

// followHosts follows on one connection until that or ctx ends.
func (p *Power) followHosts(ctx context.Context, gone func(host int)) {
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: p.address, Signal: func(*dbus.Signal) { p.changed() }})
	if err != nil {
		return
	}
	defer conn.Close()
	matched := make(map[int]bool)
	for {
		p.mu.Lock()
		hosts := slices.Sorted(maps.Keys(p.off))
		p.mu.Unlock()
		for _, host := range hosts {
			if !matched[host] && addPowerMatches(ctx, conn, host) != nil {
				return
			}
			matched[host] = true
			state, err := currentPowerState(ctx, conn, host)
			if errors.Is(err, dbuswire.ErrDisconnected) {
				return
			}
			off := err == nil && (state == powerOff || state == powerTransitioningOn)
			p.mu.Lock()
			isLost := off && p.on[host]
			p.off[host] = off
			if state != "" {
				p.on[host] = !off
			}
			p.mu.Unlock()
			if isLost {
				gone(host)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-conn.Done():
			return
		case <-p.wake:
		}
	}
}

// addPowerMatches asks for the signals of changes of the property, and of the service that has it.
func addPowerMatches(ctx context.Context, conn *dbuswire.Conn, host int) error {
	rules := []string{"type='signal',interface='" + xml.PropertiesInterface + "',member='PropertiesChanged',arg0='" + stateChassis +
		"',path='" + fmt.Sprint(chassisState, host) + "'"}
	for _, service := range stateServices(stateChassis, host) {
		rules = append(rules, "type='signal',sender='"+dbuswire.BusName+"',member='NameOwnerChanged',arg0='"+service+"'")
	}
	for _, rule := range rules {
		if err := conn.AddMatch(ctx, rule); err != nil {
			return err
		}
	}
	return nil
}

// States of a chassis, after stateChassis (phosphor-dbus-interfaces, State/Chassis).
const (
	powerOff             = stateChassis + ".PowerState.Off"
	powerTransitioningOn = stateChassis + ".PowerState.TransitioningToOn"
)

func currentPowerState(ctx context.Context, conn *dbuswire.Conn, host int) (state string, err error) {
	ctx, cancel := context.WithTimeout(ctx, powerTime)
	defer cancel()
	for _, service := range stateServices(stateChassis, host) {
		p := Property{service, fmt.Sprint(chassisState, host), stateChassis, "CurrentPowerState"}
		var value dbus.Variant
		if value, err = p.get(ctx, conn); !errors.Is(err, ipmi.ErrNotPresent) {
			state, _ = value.Value().(string)
			break
		}
	}
	return state, err
}
