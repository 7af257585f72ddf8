package units

import (
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// account is who a client is. dbus-daemon looks the groups of a uid up in the
// system's files; only those that are there can be used.
type account struct {
	uid, gid int
	group    string // name of gid
}

// find is the account of a user that every Debian has.
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

// needsRoot skips a test in which clients come as several users.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not run: needs root, to be several users")
	}
}

// dial connects to the bus as the account.
func (a account) dial(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a.become()
	conn, err := dbus.Connect(address, dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(a.uid))))
	account{}.become()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// become changes the effective user of the thread, and of it alone: package
// syscall's functions would change all threads. The real user stays, so that
// there is a way back. Supplementary groups do not come back; root needs none.
func (a account) become() {
	const keep = ^uintptr(0)
	steps := [][4]uintptr{
		{unix.SYS_SETRESUID, keep, 0, keep}, // who may take the other steps
		{unix.SYS_SETGROUPS},
		{unix.SYS_SETRESGID, keep, uintptr(a.gid), keep},
		{unix.SYS_SETRESUID, keep, uintptr(a.uid), keep},
	}
	for _, step := range steps {
		if _, _, errno := syscall.RawSyscall(step[0], step[1], step[2], step[3]); errno != 0 {
			panic(errno) // the thread is of no use to anybody
		}
	}
}
