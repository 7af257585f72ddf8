package service

import (
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, where it started us (sd_notify(3)).
func notify(states ...string) error {
	_, err := daemon.SdNotify(false, strings.Join(states, "\n"))
	return err
}
