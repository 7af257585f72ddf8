package dbuswire

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// ErrAddress: the text is not a D-Bus address that this package can reach.
var ErrAddress = errors.New("not a usable D-Bus address")

// The two well-known buses, as addresses.
const (
	// SystemBus is $DBUS_SYSTEM_BUS_ADDRESS or the specification's socket.
	SystemBus = "system"
	// SessionBus is $DBUS_SESSION_BUS_ADDRESS or $XDG_RUNTIME_DIR/bus.
	SessionBus = "session"
)

// systemBusSocket is where the system bus listens unless the environment says
// otherwise (D-Bus specification, "Well-known Message Bus Instances").
const systemBusSocket = "unix:path=/var/run/dbus/system_bus_socket"

// addresses returns the sockets of an address, or of SystemBus or SessionBus, in the order in
// which to try them (D-Bus specification, "Server Addresses"). It supports only unix sockets, by
// path or by abstract name.
func addresses(address string) ([]*net.UnixAddr, error) {
	switch address {
	case SystemBus:
		address = cmp.Or(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), systemBusSocket)
	case SessionBus:
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if address = os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address == "" && dir != "" {
			return []*net.UnixAddr{{Net: "unix", Name: dir + "/bus"}}, nil
		}
		if address == "" {
			return nil, fmt.Errorf("%w: there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set", ErrAddress)
		}
	}
	var addrs []*net.UnixAddr
	for one := range strings.SplitSeq(address, ";") {
		if one == "" {
			continue
		}
		name, err := parseUnix(one)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrAddress, one, err)
		}
		addrs = append(addrs, &net.UnixAddr{Net: "unix", Name: name})
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrAddress)
	}
	return addrs, nil
}

var errNeedsOne = errors.New("needs one of path and abstract")

// parseUnix is the socket of one address; the name of an abstract one begins with "@".
func parseUnix(address string) (name string, err error) {
	transport, pairs, found := strings.Cut(address, ":")
	if !found || transport != "unix" {
		return "", errors.New("only unix: addresses are supported")
	}
	for pair := range strings.SplitSeq(pairs, ",") {
		key, escaped, found := strings.Cut(pair, "=")
		if !found {
			return "", fmt.Errorf("no value for %q", key)
		}
		value, err := url.PathUnescape(escaped) // %XX is one byte here, too.
		switch {
		case err != nil:
			return "", fmt.Errorf("bad escape in %q", escaped)
		case key != "path" && key != "abstract":
			continue
		case name != "" || value == "":
			return "", errNeedsOne
		case key == "abstract":
			value = "@" + value
		}
		name = value
	}
	if name == "" {
		return "", errNeedsOne
	}
	return name, nil
}
