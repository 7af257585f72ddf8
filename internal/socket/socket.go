// Package socket listens on Unix sockets, and has connections whose reader is woken by
// input alone.
package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Listen makes a socket at a path; network is "unix" or "unixpacket". One that is
// there and that nobody listens on any more is replaced.
func Listen(ctx context.Context, network, path string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, path)
	if errors.Is(err, syscall.EADDRINUSE) && removeStale(ctx, network, path) {
		listener, err = config.Listen(ctx, network, path)
	}
	return listener, err
}

// removeStale removes a socket that nobody listens on.
func removeStale(ctx context.Context, network, path string) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, path)
	if err == nil {
		conn.Close()
		return false
	}
	info, statErr := os.Lstat(path)
	return errors.Is(err, syscall.ECONNREFUSED) && statErr == nil && info.Mode()&fs.ModeSocket != 0 && os.Remove(path) == nil
}
