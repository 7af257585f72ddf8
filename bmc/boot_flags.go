package bmc

import (
	"context"
	"time"
)

// The boot flags are for the next boot: they stop being valid after a time
// without Chassis Control, and when the watchdog resets, unless flag clearing says
// otherwise (IPMI v2.0, table 28-14, parameters 3 and 5).

// limitBootFlags begins the time that boot flags are valid. For those that were
// kept from before the start it begins with the BMC's.
func (b *BMC) limitBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host(host).bootFlagsUntil = time.Now().Add(bootFlagsTime)
}

// keepBootFlags begins that time again, if it is not over: there was a Chassis
// Control.
func (b *BMC) keepBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, now := b.host(host), time.Now()
	if now.Before(h.bootFlagsUntil) {
		h.bootFlagsUntil = now.Add(bootFlagsTime)
	}
}

// expireBootFlags ends them when their time is over, and matters.
func (b *BMC) expireBootFlags(ctx context.Context, host int) error {
	b.mu.Lock()
	until := b.host(host).bootFlagsUntil
	b.mu.Unlock()
	if time.Now().Before(until) || b.bootOption(host, bootFlagClearing)[0]&keepWithoutControl != 0 {
		return nil
	}
	return b.invalidateBootFlags(ctx, host)
}

// endBootFlags ends them because the watchdog has acted.
func (b *BMC) endBootFlags(ctx context.Context, host int) error {
	if b.bootOption(host, bootFlagClearing)[0]&keepAfterWatchdog != 0 {
		return nil
	}
	return b.invalidateBootFlags(ctx, host)
}

func (b *BMC) invalidateBootFlags(ctx context.Context, host int) error {
	flags := b.bootOption(host, bootFlags)
	if flags[0]&bootFlagsValid == 0 {
		return nil
	}
	flags[0] &^= bootFlagsValid
	return b.config.Settings.Keep(ctx, bootSetting(host, bootFlags), flags)
}
