package bustest

import (
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
)

// DialAs connects to a message bus as another user with one group. The test must run as root.
func DialAs(t testing.TB, address string, uid, gid int) *dbus.Conn {
	t.Helper()
	var conn *dbus.Conn
	var err error
	As(uid, gid, func() {
		conn, err = dbus.Connect(address, dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(uid))))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// As connects, or does something else in its own goroutine, as another user with one group. The
// test must run as root, and must not end meanwhile.
func As(uid, gid int, do func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become(uid, gid)
	do()
	become(0, 0)
}

// become changes the effective user of this thread only: package syscall's functions would change
// all threads. The real user stays, so that the thread can change back. Supplementary groups do
// not come back; root needs none.
func become(uid, gid int) {
	const keep = ^uintptr(0)
	steps := [][4]uintptr{
		{syscall.SYS_SETRESUID, keep, 0, keep}, // a user that may take the other steps
		{syscall.SYS_SETGROUPS},
		{syscall.SYS_SETRESGID, keep, uintptr(gid), keep},
		{syscall.SYS_SETRESUID, keep, uintptr(uid), keep},
	}
	for _, step := range steps {
		if _, _, errno := syscall.RawSyscall(step[0], step[1], step[2], step[3]); errno != 0 {
			panic(errno) // the thread cannot be used any more
		}
	}
}
