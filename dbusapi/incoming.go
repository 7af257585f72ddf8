package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Signals that are taken as commands, as ipmbbridge takes them.
const (
	broadcastMember  = "sendBroadcast"      // yyyyay, of any path and interface
	ownAddressMember = "updateBmcSlaveAddr" // yyy, of any interface
	ownAddressPath   = dbus.ObjectPath("/xyz/openbmc_project/MultiNode/Status")
)

// matchRules are the signals that are asked for: names that lose their owner, and commands.
var matchRules = []string{
	"type='signal',sender='" + dbuswire.BusName + "',interface='" + dbuswire.BusInterface + "',member='NameOwnerChanged',arg2=''",
	"type='signal',member='" + broadcastMember + "'",
	"type='signal',member='" + ownAddressMember + "',path='" + string(ownAddressPath) + "'",
}

const (
	// maxCommands is how many commands wait for their sender to be looked up.
	maxCommands = 64
	// maxRunning is how many commands are carried out at a time.
	maxRunning = 16
)

// command is what a signal asks for. run carries it out, and calls done at the end or later.
type command struct {
	sender string
	run    func(ctx context.Context, done func())
	blocks bool
}

// receiveSignal takes a signal from the goroutine that reads the connection, and does not block.
func (s *Server) receiveSignal(in *dbus.Signal) {
	member := in.Name[strings.LastIndexByte(in.Name, '.')+1:]
	switch {
	case in.Sender == dbuswire.BusName:
		var name, before, after string
		if member == "NameOwnerChanged" && dbus.Store(in.Body, &name, &before, &after) == nil && after == "" && strings.HasPrefix(name, ":") {
			s.clientLeft(name)
		}
	case member == broadcastMember:
		s.queueCommand(command{in.Sender, s.broadcastCommand(in.Body), false})
	case member == ownAddressMember && in.Path == ownAddressPath:
		s.queueCommand(command{in.Sender, s.ownAddressCommand(in.Body), true})
	}
}

// clientLeft ends the calls, registrations and subscriptions of a client that has left the message
// bus. It ends the calls first: their further registrations are refused.
func (s *Server) clientLeft(name string) {
	s.clients.removeClient(name)
	s.removeHandlers(func(h *remoteHandler) bool { return h.destination == name })
	s.events.unsubscribe(name)
}

// queueCommand queues a command. One that is malformed has no run.
func (s *Server) queueCommand(c command) {
	if c.run == nil {
		s.counters.Count(signalsMalformed)
		return
	}
	select {
	case s.commands <- c:
	default:
		s.counters.Count(signalsDropped)
	}
}

// broadcastCommand reads channel, netFn, requester LUN, command and data.
func (s *Server) broadcastCommand(body []any) func(context.Context, func()) {
	head, ok := leadingBytes(body, 4)
	if !ok || len(body) != 5 {
		return nil
	}
	data, ok := body[4].([]byte)
	req := ipmb.Request{NetFn: ipmi.NetFn(head[1]), RequesterLUN: ipmi.LUN(head[2]), Command: ipmi.Command(head[3]), Data: data}
	if !ok || checkRequest(req) != nil {
		return nil
	}
	return func(_ context.Context, done func()) {
		ended := func(err error) {
			if err != nil {
				s.counters.Count(signalsFailed)
			}
			done()
		}
		if o := s.objects.channels.Find(head[0]); o == nil {
			ended(errUnknownChannel)
		} else if err := o.bus.StartBroadcast(nil, ended, req.NetFn, req.RequesterLUN, req.Command, req.Data); err != nil {
			ended(err)
		}
	}
}

// ownAddressCommand reads channel, number of the I2C bus and new 8-bit address.
func (s *Server) ownAddressCommand(body []any) func(context.Context, func()) {
	args, ok := leadingBytes(body, 3)
	address := ipmi.Address(args[2])
	if !ok || len(body) != 3 || !address.IsSlave() {
		return nil
	}
	return func(ctx context.Context, done func()) {
		defer done()
		if o := s.objects.channels.Find(args[0]); o == nil || !o.changeAddress(ctx, int(args[1]), address) {
			s.counters.Count(signalsFailed)
		}
	}
}

// leadingBytes is the first n arguments, if they are bytes.
func leadingBytes(body []any, n int) (head [4]byte, ok bool) {
	if len(body) < n {
		return head, false
	}
	for i := range n {
		if head[i], ok = body[i].(byte); !ok {
			return head, false
		}
	}
	return head, true
}

// changeAddress changes our own address, if the bus is of type ipmb and has this number.
func (o *BusObject) changeAddress(ctx context.Context, number int, address ipmi.Address) bool {
	p := o.bus.Properties()
	has, err := strconv.Atoi(bus.Number(p.Device))
	if o.index&channelTypeMask != channelTypeIPMB || err != nil || has != number {
		return false
	}
	if p.OwnAddress == address {
		return true
	}
	if err := o.bus.SetOwnAddress(ctx, address); err != nil {
		return false
	}
	o.Changed()
	return true
}

// runCommands carries out the commands of authorized senders, in order, until ctx ends. A bus that
// is slow with one delays no other bus.
func (s *Server) runCommands(ctx context.Context) {
	slots := make(chan struct{}, maxRunning)
	var waits sync.WaitGroup // for commands that wait for the kernel
	defer waits.Wait()
	for {
		var next command
		select {
		case <-ctx.Done():
			return
		case next = <-s.commands:
		}
		if !s.mayCommand(ctx, next.sender) {
			s.counters.Count(signalsRefused)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			s.counters.Count(signalsDropped)
			continue
		}
		done := func() { <-slots }
		if next.blocks {
			waits.Go(func() { next.run(ctx, done) })
		} else {
			next.run(ctx, done)
		}
	}
}

// mayCommand reports whether a sender's signals are commands: the sender is root, or owns one of
// the configured names. A sender that cannot be looked up is not trusted.
func (s *Server) mayCommand(ctx context.Context, sender string) bool {
	if s.userOf(ctx, sender) == 0 {
		return true
	}
	for _, name := range *s.signalNames.Load() {
		if owner, err := s.conn.OwnerOf(ctx, name); err == nil && owner == sender {
			return true
		}
	}
	return false
}

// errNotRoot: the caller may not change what is served.
var errNotRoot = errors.New("only root may change what ipmbd serves")

// checkManager returns nil for root. The message bus's policy says so too; checkManager does not
// depend on it.
func (s *Server) checkManager(ctx context.Context, sender string) error {
	if uid := s.userOf(ctx, sender); !isRoot(uid) {
		return fmt.Errorf("%w: user %d", errNotRoot, uid)
	}
	return nil
}

// userOf returns the UID of a sender, that of bus.Unknown, which no user has, if it is unknown.
func (s *Server) userOf(ctx context.Context, sender string) uint32 {
	one := s.clients.findClient([]byte(sender))
	s.clients.awaitIdentity(ctx, one)
	process, known := one.Process()
	if !known {
		return bus.Unknown.UID
	}
	return process.UID
}
