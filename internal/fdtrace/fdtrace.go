// Package fdtrace tells tests which code has opened a descriptor. In programs it does nothing.
package fdtrace

import "syscall"

// OnOpen is called with each descriptor that a package of ours has opened, by the goroutine that
// has opened it. Tests set it before they begin (see internal/testmain).
var OnOpen func(fd int)

// Opened reports a descriptor.
func Opened(fd int) {
	if OnOpen != nil {
		OnOpen(fd)
	}
}

// OpenedFile reports the descriptor of a file, connection or listener, if it has one.
func OpenedFile(file any) {
	if OnOpen == nil {
		return
	}
	if conn, ok := file.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { OnOpen(int(fd)) })
		}
	}
}
