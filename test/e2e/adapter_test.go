package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adapter stands in for an I2C adapter whose bus can be held low: each write of the
// daemon to a device stays in the kernel for adapterTime then, and fails. It can also fail each
// write at once. The kernel hands the system call to the test for that (seccomp_unotify(2)).
type adapter struct {
	device string // its path
	low    atomic.Bool
	fails  atomic.Uintptr // the error of each write; 0 for none
	writes atomic.Int64   // that have failed
	listen int
}

// adapterTime is the time after which the drivers of adapters give a transfer up
// (i2c_adapter.timeout, usually a second).
const adapterTime = time.Second

// start is start of a daemon that writes through an adapter.
func (a *adapter) start(t testing.TB, address string, config object) *daemon {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	child := os.NewFile(uintptr(pair[1]), "listener")
	defer unix.Close(pair[0])
	defer child.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("env", outsiderVariable+"=watched", self, program, "--bus", address, "--config", configFile(t, config))
	cmd.ExtraFiles = []*os.File{child}
	d := launchCommand(t, cmd)
	child.Close() // Without it a process that ends in between is noticed.
	if a.listen, err = receiveFD(pair[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.low.Store(false) }) // before the daemon is stopped
	go a.watch()
	d.ready(t)
	return d
}

// The structures of linux/seccomp.h.
type (
	seccompNotification struct { // struct seccomp_notif
		id         uint64
		pid, flags uint32
		number     int32
		arch       uint32
		at         uint64
		args       [6]uint64
	}
	seccompAnswer struct { // struct seccomp_notif_resp
		id    uint64
		value int64
		err   int32
		flags uint32
	}
)

// seccompContinue is SECCOMP_USER_NOTIF_FLAG_CONTINUE: let the system call happen.
const seccompContinue = 1

// watch decides about the daemon's writes until it has ended.
func (a *adapter) watch() {
	defer unix.Close(a.listen)
	for {
		ready := []unix.PollFd{{Fd: int32(a.listen), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err == unix.EINTR {
			continue
		} else if err != nil || ready[0].Revents&unix.POLLIN == 0 {
			return // The last process has ended.
		}
		var n seccompNotification
		if err := ioctl(a.listen, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			continue // Its thread has been killed in between.
		}
		answer := seccompAnswer{id: n.id, flags: seccompContinue}
		fails := a.fails.Load()
		if !a.low.Load() && fails == 0 || !a.isWriteOf(&n) {
			a.answer(answer)
			continue
		}
		if fails != 0 {
			a.answer(seccompAnswer{id: n.id, err: -int32(fails)})
			continue
		}
		time.AfterFunc(adapterTime, func() { // the time that the driver takes
			a.writes.Add(1)
			a.answer(seccompAnswer{id: n.id, err: -int32(unix.ETIMEDOUT)})
		})
	}
}

// isWriteOf reports whether a write is one to the adapter's device.
func (a *adapter) isWriteOf(n *seccompNotification) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", n.pid, n.args[0]))
	return err == nil && target == a.device
}

// answer lets a system call go on. A call that has ended with its thread has no owner.
func (a *adapter) answer(answer seccompAnswer) {
	_ = ioctl(a.listen, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// receiveFD receives a descriptor.
func receiveFD(socket int) (int, error) {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, b, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("no descriptor came: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return fds[0], nil
}

// beWatched is an outsider that becomes another program. The process at the other end of the
// socket that is descriptor 3 decides on its writes.
func beWatched(args []string, _ func()) error {
	runtime.LockOSThread() // It alone has the filter, until the program has it.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_WRITE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	compiled := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// As with a driver, signals do not end the wait.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&compiled)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	const socket = 3
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(socket)
	unix.CloseOnExec(int(listener))
	if err := os.Unsetenv(outsiderVariable); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}
