package service

import (
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// reloading says that a reload begins; its time lets systemd tell it from others
// (sd_notify(3), Type=notify-reload). READY=1 says that it is over.
func reloading() error { return notify(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()) }

// notify tells systemd, where it started us (sd_notify(3)).
func notify(states ...string) error {
	_, err := daemon.SdNotify(false, strings.Join(states, "\n"))
	return err
}
