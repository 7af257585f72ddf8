package units

import (
	"os"
	"os/user"
	"strconv"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// account is the user of a client. dbus-daemon looks up the groups of a uid in the system's files,
// so only existing users work.
type account struct {
	uid, gid int
	group    string // name of gid
}

// find returns the account of a user that every Debian has.
func find(t *testing.T, name string) account {
	t.Helper()
	found, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(found.Gid)
	if err != nil {
		t.Fatal(err)
	}
	a := account{group: group.Name}
	if a.uid, err = strconv.Atoi(found.Uid); err != nil {
		t.Fatal(err)
	}
	if a.gid, err = strconv.Atoi(found.Gid); err != nil {
		t.Fatal(err)
	}
	return a
}

// needsRoot skips a test whose clients are several users.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not run: needs root, to be several users")
	}
}

// dial connects to the bus as the account.
func (a account) dial(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	return bustest.DialAs(t, address, a.uid, a.gid)
}
