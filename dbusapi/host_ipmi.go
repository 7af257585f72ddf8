package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Where openbmc/btbridge serves org.openbmc.HostIpmi (btbridged.c).
const (
	hostIPMIName = "org.openbmc.HostIpmi"
	hostIPMIPath = dbus.ObjectPath("/org/openbmc/HostIpmi/1")
)

// numberHold is how long after its deadline the number of a request without an answer is not
// given to another request: a late answer would count for that request. If each request takes
// 4.5 s, 133 numbers are held.
const numberHold = 10 * time.Minute

var (
	// errOtherRequest: an answer does not fit the request that has its number.
	errOtherRequest = errors.New("another request waits under this number")
)

// HostIPMI is btbridge's interface to the requests of one host, on a connection and with a bus
// name of its own. It implements ipmi.Handler.
type HostIPMI struct {
	own     *ownName
	objects objects // on that connection
	sms     SMS
	line    requestLine

	mu       sync.Mutex
	last     uint8             // number given
	numbers  [256]*hostRequest // that wait for sendMessage, and those whose number is held
	answerer string            // unique name of the program that answered last
	closed   bool
}

// hostRequest is a request that waits for sendMessage.
type hostRequest struct {
	*ipmi.Request
	host   *HostIPMI
	number uint8
	reply  ipmi.Reply
}

// AddHostIPMI gives a host interface btbridge's D-Bus interface, too, until HostObject.Close.
// TakeNames takes the bus name. The error is ErrTaken if another host has it.
func (s *Server) AddHostIPMI(ctx context.Context, o *HostObject, sms SMS) (*HostIPMI, error) {
	h := &HostIPMI{objects: newObjects(), sms: sms}
	exported := newObject(s, hostIPMIPath, xml.HostIPMIInterface)
	exported.hostIPMI = h
	h.objects.addWithAncestors(exported)
	own, err := s.names.openName(ctx, hostIPMIName, false, s.calls(&h.objects))
	if err != nil {
		return nil, fmt.Errorf("host name %q: %w", o.name, err)
	}
	h.own = own
	context.AfterFunc(own.conn.Context(), h.endRequests)
	o.hostIPMI = h
	return h, nil
}

// ServeIPMI emits ReceivedMessage; sendMessage answers. A request that carries a secret goes to
// one receiver only, a program of root: the one that has answered last, else the host daemon.
// Without a receiver the error is ipmi.ErrDenied. If too many requests have no answer, the error
// is ipmi.ErrBusy.
func (h *HostIPMI) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	r, err := h.numberRequest(req, reply)
	if err != nil {
		reply.Answer(ipmi.Response{}, err)
		return
	}
	h.line.enqueue(h.own.conn, r)
}

// numberRequest numbers a request. The errors are ipmi.ErrBusy, when no number is free, and
// errBusLost.
func (h *HostIPMI) numberRequest(req *ipmi.Request, reply ipmi.Reply) (*hostRequest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errBusLost
	}
	now := time.Now()
	for range h.numbers {
		h.last++
		if r := h.numbers[h.last]; r != nil && !isLate(r.Request, now.Add(-numberHold)) {
			continue
		}
		r := &hostRequest{req, h, h.last, reply}
		h.numbers[r.number] = r
		return r, nil
	}
	return nil, ipmi.ErrBusy
}

func (r *hostRequest) request() *ipmi.Request { return r.Request }

func (r *hostRequest) receivers() []string {
	if last := r.host.lastAnswerer(); last != "" {
		return []string{last, xml.HostDaemonName}
	}
	return []string{xml.HostDaemonName}
}

// handOn shows the request to a connection, or to all that ask for the signal.
func (r *hostRequest) handOn(receiver string) {
	conn := r.host.own.conn
	b := beginSignal(conn, receiver, hostIPMIPath, hostIPMIMessage, "yyyyay", 8+len(r.Data))
	b = append(b, r.number, byte(r.NetFn), byte(r.LUN), byte(r.Command))
	if err := conn.Send(dbuswire.Finish(dbuswire.AppendBytes(b, r.Data)), nil); err != nil {
		r.host.endRequest(r, errBusLost)
	}
}

func (r *hostRequest) refuse(err error) {
	if err == ipmi.ErrNotPresent {
		err = errNoReceiver // Programs may be there, and none of them is known to answer.
	}
	r.host.endRequest(r, err)
}

// freeNumber frees the number of a request, and reports whether the request had it still.
func (h *HostIPMI) freeNumber(r *hostRequest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.numbers[r.number] != r {
		return false
	}
	h.numbers[r.number] = nil
	return true
}

// endRequest answers a request that no program is to answer.
func (h *HostIPMI) endRequest(r *hostRequest, err error) {
	if h.freeNumber(r) {
		r.reply.Answer(ipmi.Response{}, err)
	}
}

// findAnswered finds the request with the number of a program's answer. The errors are
// errUnknownID and errOtherRequest.
func (h *HostIPMI) findAnswered(sender string, number uint8, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command) (*hostRequest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.numbers[number]
	switch {
	case r == nil:
		return nil, errUnknownID
	case netFn.Request() != r.NetFn || lun != r.LUN || cmd != r.Command:
		return nil, errOtherRequest
	}
	h.answerer = sender
	return r, nil
}

func (h *HostIPMI) lastAnswerer() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answerer
}

// endRequests ends all requests, in the order in which they came, and refuses further ones: the
// connection is lost.
func (h *HostIPMI) endRequests() {
	h.mu.Lock()
	h.closed = true
	requests, number := h.numbers, h.last
	h.mu.Unlock()
	for range requests {
		number++
		if r := requests[number]; r != nil {
			h.endRequest(r, errBusLost)
		}
	}
}

// sendMessage answers a request, once and in time.
func sendMessage(c *call) ([]any, error) {
	h := c.object.hostIPMI
	netFn, lun, cmd := ipmi.NetFn(c.args[1].(byte)), ipmi.LUN(c.args[2].(byte)), ipmi.Command(c.args[3].(byte))
	r, err := h.findAnswered(c.sender, c.args[0].(byte), netFn, lun, cmd)
	if err != nil {
		return nil, err
	}
	if !r.reply.Answer(ipmi.Response{Code: ipmi.CompletionCode(c.args[4].(byte)), Data: c.args[5].([]byte)}, nil) {
		return nil, errUnknownID // Its number is held.
	}
	h.freeNumber(r)
	return []any{int64(0)}, nil
}

func hostIPMISetAttention(ctx context.Context, c *call) ([]any, error) {
	return []any{int64(0)}, c.object.hostIPMI.sms.SetAttention(ctx, true)
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

// errnoResult makes the result -errno of an error, -EIO for one that is in no row.
func errnoResult(err error) ([]any, error) {
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return []any{-int64(row.errno)}, nil
		}
	}
	return []any{-int64(syscall.EIO)}, nil
}
