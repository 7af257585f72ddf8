package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Where openbmc/btbridge serves org.openbmc.HostIpmi (btbridged.c).
const (
	hostIPMIName    = "org.openbmc.HostIpmi"
	hostIPMIPath    = dbus.ObjectPath("/org/openbmc/HostIpmi/1")
	hostIPMIMessage = xml.HostIPMIInterface + ".ReceivedMessage"
)

// HostIPMI is btbridge's interface to the requests of one host, on a connection
// and with a bus name of its own. It implements ipmi.Handler.
type HostIPMI struct {
	conn     *dbuswire.Conn
	objects  objects // on that connection
	requests hostRequests
	line     hostLine
	sms      SMS
}

// AddHostIPMI makes a host interface also what btbridge serves; RemoveHost takes
// that away with it. TakeNames takes the bus name, of which there is one: so there
// is one such host.
func (s *Server) AddHostIPMI(ctx context.Context, o *HostObject, sms SMS) (*HostIPMI, error) {
	h := &HostIPMI{objects: newObjects(), sms: sms}
	h.objects.add(newObject(s, rootPath))
	for _, path := range ancestors(hostIPMIPath) {
		h.objects.add(newObject(s, path))
	}
	exported := newObject(s, hostIPMIPath, xml.HostIPMIInterface)
	exported.hostIPMI = h
	h.objects.add(exported)
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: s.names.address, Call: s.take(&h.objects)})
	if err != nil {
		return nil, err
	}
	h.conn, h.line.host = conn, h
	context.AfterFunc(conn.Context(), h.requests.close)
	if !s.names.add(hostIPMIName, conn, 0) {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: host name %q: another host has the bus name %s", ErrTaken, o.name, hostIPMIName)
	}
	o.hostIPMI = h
	return h, nil
}

// ServeIPMI emits ReceivedMessage and has sendMessage answer. A request that carries a
// secret is emitted to one receiver only; without one it is ipmi.ErrDenied. Too many
// without an answer are ipmi.ErrBusy.
func (h *HostIPMI) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	r, err := h.requests.add(req, reply)
	if err != nil {
		reply.Answer(ipmi.Response{}, err)
		return
	}
	if h.line.enter(r, ipmi.CarriesSecret(req.NetFn, req.Command, req.Data)) {
		return
	}
	h.emit("", r)
}

// emit shows a request to a connection, or to everybody.
func (h *HostIPMI) emit(receiver string, r *hostRequest) {
	b := signalTo(h.conn, receiver, hostIPMIPath, hostIPMIMessage, "yyyyay", 8+len(r.Data))
	b = append(b, r.seq, byte(r.NetFn), byte(r.LUN), byte(r.Command))
	if err := h.conn.Send(dbuswire.Finish(dbuswire.AppendBytes(b, r.Data)), nil); err != nil {
		h.requests.end(r, errBusLost)
	}
}

// sendMessage serves org.openbmc.HostIpmi.sendMessage.
func sendMessage(_ context.Context, c *call) ([]any, error) {
	netFn, lun, cmd := ipmi.NetFn(c.args[1].(byte)), ipmi.LUN(c.args[2].(byte)), ipmi.Command(c.args[3].(byte))
	res := ipmi.Response{Code: ipmi.CompletionCode(c.args[4].(byte)), Data: c.args[5].([]byte)}
	if err := c.object.hostIPMI.requests.answer(c.sender, c.args[0].(byte), netFn, lun, cmd, res); err != nil {
		return nil, err
	}
	return []any{int64(0)}, nil
}

// hostIPMISetAttention serves org.openbmc.HostIpmi.setAttention.
func hostIPMISetAttention(ctx context.Context, c *call) ([]any, error) {
	if err := c.object.hostIPMI.sms.SetAttention(ctx, true); err != nil {
		return nil, err
	}
	return []any{int64(0)}, nil
}

// errnos is the one table from error to result of org.openbmc.HostIpmi.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{errUnknownID, syscall.ENOENT},
	{errOtherRequest, syscall.EINVAL},
	{ErrLimit, syscall.EBUSY},
	{ipmi.ErrNotPresent, syscall.ENODEV},
}

// errnoReply answers with -errno instead of an error, -EIO for what is in no row.
func errnoReply(err error) ([]any, error) {
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return []any{-int64(row.errno)}, nil
		}
	}
	return []any{-int64(syscall.EIO)}, nil
}
