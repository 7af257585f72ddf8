package service

import (
	"testing"

	"golang.org/x/sys/unix"
)

// mounts are lines of proc_pid_mountinfo(5): the sandbox of ipmbd.service, and two disks.
const mounts = `22 1 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 8:1 /var/lib/ipmbd /var/lib/ipmbd rw,relatime - ext4 /dev/sda1 rw
31 22 8:2 / /data rw,relatime - ext4 /dev/sdb1 rw
32 22 8:3 / /broken rw,relatime - ext4 /dev/sdc1 ro
33 22 8:3 / /broken/too ro,relatime - ext4 /dev/sdc1 ro
`

func TestReadOnlyMounts(t *testing.T) {
	for path, want := range map[string]bool{
		"/var/ipmbd":         true,
		"/var/lib":           true,
		"/var/lib/ipmbd":     false,
		"/var/lib/ipmbd/bmc": false,
		"/data/bmc":          false,
		"/database":          true,
		"/broken/bmc":        false,
		"/broken/too/bmc":    false,
	} {
		if got := isReadOnlyMount(mounts, path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

// Only under our unit can the sandbox be the cause.
func TestOutsideTheSandbox(t *testing.T) {
	for _, test := range []struct {
		state, path string
		err         error
		want        bool
	}{
		{"", "/home/bmc", unix.EACCES, false},
		{"/var/lib/ipmbd", "/home/bmc", unix.EACCES, true},
		{"/var/lib/ipmbd", "/home/bmc", unix.EIO, false},
		{"/var/lib/ipmbd", "/home/bmc", nil, false},
		{"/var/lib/ipmbd", "/var/lib/ipmbd", unix.EACCES, false},
		{"/var/lib/ipmbd", "/var/lib/ipmbd/bmc", unix.EPERM, false},
		{"/var/lib/ipmbd", "/var/lib/ipmbd2", unix.EPERM, true},
	} {
		t.Setenv("STATE_DIRECTORY", test.state)
		if got := isOutsideSandbox(test.path, test.err); got != test.want {
			t.Errorf("%+v: %t", test, got)
		}
	}
}
