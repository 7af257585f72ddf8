package dbuswire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
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

// resolve turns the names of the well-known buses into addresses; other text
// is an address already.
func resolve(address string) (string, error) {
	switch address {
	case SystemBus:
		if set := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); set != "" {
			return set, nil
		}
		return systemBusSocket, nil
	case SessionBus:
		if set := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); set != "" {
			return set, nil
		}
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			return "unix:path=" + escape(dir+"/bus"), nil
		}
		return "", fmt.Errorf("%w: there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set", ErrAddress)
	}
	return address, nil
}

// parseAddress reads a list of addresses separated by semicolons, to be tried
// in order (D-Bus specification, "Server Addresses"). Only unix sockets are
// supported, by path or by abstract name.
func parseAddress(list string) ([]*net.UnixAddr, error) {
	var addrs []*net.UnixAddr
	for _, one := range strings.Split(list, ";") {
		if one == "" {
			continue
		}
		addr, err := parseUnix(one)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrAddress)
	}
	return addrs, nil
}

func parseUnix(one string) (*net.UnixAddr, error) {
	transport, pairs, found := strings.Cut(one, ":")
	if !found || transport != "unix" {
		return nil, fmt.Errorf("%w: %q: only unix: addresses are supported", ErrAddress, one)
	}
	name := ""
	for _, pair := range strings.Split(pairs, ",") {
		key, escaped, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%w: %q: no value for %q", ErrAddress, one, key)
		}
		value, err := unescape(escaped)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: bad escape in %q", ErrAddress, one, escaped)
		}
		switch {
		case key != "path" && key != "abstract":
			continue
		case name != "" || value == "":
			return nil, fmt.Errorf("%w: %q: needs one of path and abstract", ErrAddress, one)
		case key == "abstract":
			value = "@" + value
		}
		name = value
	}
	if name == "" {
		return nil, fmt.Errorf("%w: %q: needs one of path and abstract", ErrAddress, one)
	}
	return &net.UnixAddr{Net: "unix", Name: name}, nil
}

// unescape replaces each %XX by its byte.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", ErrAddress
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", err
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}

// escape makes s a value of an address: what is not optionally escaped becomes
// %XX.
func escape(s string) string {
	const plain = "-_/\\*."
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}
