package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// maxExecutes is how many execute calls one connection has in progress. The
// system bus lets a connection wait for 128 replies (dbus-daemon,
// max_replies_per_connection).
const maxExecutes = 100

// The host IPMI daemon's method (phosphor-host-ipmid, ipmid-new.cpp).
const (
	hostName      = "xyz.openbmc_project.Ipmi.Host"
	hostPath      = dbus.ObjectPath("/xyz/openbmc_project/Ipmi")
	hostInterface = "xyz.openbmc_project.Ipmi.Server"
	hostMember    = "execute"
)

// HostDaemon hands requests to the host IPMI daemon. It implements
// ipmi.Handler.
type HostDaemon struct {
	conn *Conn

	mu       sync.Mutex
	progress int
	// late is the calls that were given up and not answered yet. The message
	// bus still counts them, and so do we.
	late []*dbus.Call
}

// NewHostDaemon makes a handler whose calls leave from conn: the host daemon
// finds the IPMI channel by the name that the connection owns.
func NewHostDaemon(conn *Conn) *HostDaemon { return &HostDaemon{conn: conn} }

// ServeIPMI calls execute. A daemon that is not running is ipmi.ErrAbsent, one
// that stops in the middle ipmi.ErrGone, one that is too slow ipmi.ErrTooSlow;
// too many calls in progress are ipmi.ErrBusy. A reply that does not fit the
// request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	if err := h.enter(); err != nil {
		return ipmi.Response{}, err
	}
	call := h.conn.Object(hostName, hostPath).Go(hostInterface+"."+hostMember, dbus.FlagNoAutoStart,
		make(chan *dbus.Call, 1), executeArgs(req)...)
	select {
	case <-call.Done:
		h.leave()
		if call.Err != nil {
			return ipmi.Response{}, hostError(call.Err)
		}
		return executeReply(req, call.Body)
	case <-ctx.Done():
		h.abandon(call)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ipmi.Response{}, ipmi.ErrTooSlow
		}
		return ipmi.Response{}, ctx.Err()
	}
}

// enter counts a call, unless too many are in progress.
func (h *HostDaemon) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.progress+len(h.late) >= maxExecutes {
		h.late = slices.DeleteFunc(h.late, ended)
	}
	if h.progress+len(h.late) >= maxExecutes {
		return ipmi.ErrBusy
	}
	h.progress++
	return nil
}

func (h *HostDaemon) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress--
}

func (h *HostDaemon) abandon(call *dbus.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress--
	h.late = append(h.late, call)
}

// ended reports whether an abandoned call has had its reply after all.
func ended(call *dbus.Call) bool { return len(call.Done) > 0 }

// executeArgs is netFn, LUN, command, data and options. The requester's address
// is in its 7-bit form, and both options are int32: the daemon takes no other
// type.
func executeArgs(req *ipmi.Request) []any {
	options := map[string]dbus.Variant{
		"rqSA":   dbus.MakeVariant(int32(req.Requester >> 1)),
		"hostId": dbus.MakeVariant(int32(req.Host)),
	}
	// The request's data may be gone before a late call is sent.
	data := append([]byte{}, req.Data...)
	return []any{byte(req.NetFn), byte(req.LUN), byte(req.Command), data, options}
}

// executeReply reads the one struct of netFn, LUN, command, completion code and
// data.
func executeReply(req *ipmi.Request, body []any) (ipmi.Response, error) {
	if len(body) != 1 {
		return ipmi.Response{}, errReply
	}
	fields, ok := body[0].([]any)
	if !ok || len(fields) != 5 {
		return ipmi.Response{}, errReply
	}
	head, ok := leadingBytes(fields, 4)
	data, isBytes := fields[4].([]byte)
	if !ok || !isBytes {
		return ipmi.Response{}, errReply
	}
	netFn, cmd := ipmi.NetFn(head[0]), ipmi.Command(head[2])
	if netFn != req.NetFn.Response() || cmd != req.Command {
		return ipmi.Response{}, fmt.Errorf("host daemon: reply to %02Xh/%02Xh has netFn %02Xh and command %02Xh",
			uint8(req.NetFn), uint8(req.Command), uint8(netFn), uint8(cmd))
	}
	return ipmi.Response{Code: ipmi.CompletionCode(head[3]), Data: data}, nil
}

// errReply: the results of a call are not of the types they should be.
var errReply = errors.New("reply has the wrong signature")

// hostErrors is the table from the message bus's errors to a handler's.
var hostErrors = map[string]error{
	"org.freedesktop.DBus.Error.ServiceUnknown": ipmi.ErrAbsent,
	"org.freedesktop.DBus.Error.NameHasNoOwner": ipmi.ErrAbsent,
	"org.freedesktop.DBus.Error.NoReply":        ipmi.ErrGone,
	"org.freedesktop.DBus.Error.Disconnected":   ipmi.ErrGone,
	"org.freedesktop.DBus.Error.LimitsExceeded": ipmi.ErrBusy,
}

func hostError(err error) error {
	var peer dbus.Error
	if !errors.As(err, &peer) {
		return fmt.Errorf("%w: %w", ipmi.ErrGone, ErrDisconnected)
	}
	if known, ok := hostErrors[peer.Name]; ok {
		return known
	}
	return fmt.Errorf("host daemon: %s: %s", peer.Name, peer.Error())
}

func firstUint32(results []any) (uint32, bool) {
	if len(results) != 1 {
		return 0, false
	}
	n, ok := results[0].(uint32)
	return n, ok
}
