package dbusapi

import (
	"context"
	"strconv"
	"strings"

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

// matchRules is which signals are asked for: names that lose their owner, and
// the commands.
func matchRules() []string {
	return []string{
		"type='signal',sender='" + dbuswire.BusName + "',interface='" + dbuswire.BusInterface + "',member='NameOwnerChanged',arg2=''",
		"type='signal',member='" + broadcastMember + "'",
		"type='signal',member='" + ownAddressMember + "',path='" + string(ownAddressPath) + "'",
	}
}

const (
	// maxCommands is how many commands wait for their sender to be looked up.
	maxCommands = 64
	// maxRunning is how many commands are carried out at a time.
	maxRunning = 16
)

// command is what a signal asks for. run carries it out, and calls done at the end or
// later. It does not block.
type command struct {
	sender string
	run    func(ctx context.Context, done func())
}

// receiveSignal takes a signal from the reading goroutine and does not block.
func (s *Server) receiveSignal(in *dbus.Signal) {
	member := in.Name[strings.LastIndexByte(in.Name, '.')+1:]
	switch {
	case in.Sender == dbuswire.BusName:
		if name, ok := lostName(member, in.Body); ok {
			s.left(name)
		}
	case member == broadcastMember:
		s.command(in.Sender, s.broadcastCommand(in.Body))
	case member == ownAddressMember && in.Path == ownAddressPath:
		s.command(in.Sender, s.ownAddressCommand(in.Body))
	}
}

// left ends what a connection had that has left the message bus. Its calls come
// first: what they ask for after it is refused.
func (s *Server) left(name string) {
	s.backlogs.left(name)
	s.callers.left(name)
	s.dropHandlers(name)
	s.events.unsubscribe(name)
	s.answerers.left(name)
}

// command queues a command; nil is a malformed one.
func (s *Server) command(sender string, run func(context.Context, func())) {
	if run == nil {
		s.counters.signalsMalformed.Add(1)
		return
	}
	select {
	case s.commands <- command{sender, run}:
	default:
		s.counters.signalsDropped.Add(1)
	}
}

// lostName reads NameOwnerChanged (name, old owner, new owner).
func lostName(member string, body []any) (string, bool) {
	if member != "NameOwnerChanged" || len(body) != 3 {
		return "", false
	}
	name, _ := body[0].(string)
	owner, isString := body[2].(string)
	return name, isString && owner == "" && strings.HasPrefix(name, ":")
}

// broadcastCommand reads channel, netFn, requester LUN, command and data.
func (s *Server) broadcastCommand(body []any) func(context.Context, func()) {
	head, ok := leadingBytes(body, 4)
	if !ok || len(body) != 5 {
		return nil
	}
	data, ok := body[4].([]byte)
	req := &ipmb.Request{NetFn: ipmi.NetFn(head[1]), RequesterLUN: ipmi.LUN(head[2]), Command: ipmi.Command(head[3]), Data: data}
	if !ok || checkBroadcast(req) != nil {
		return nil
	}
	return func(_ context.Context, done func()) {
		ended := func(err error) {
			if err != nil {
				s.counters.signalsFailed.Add(1)
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
	if !ok || len(body) != 3 {
		return nil
	}
	address := ipmi.Address(args[2])
	if !address.IsSlave() {
		return nil
	}
	return func(ctx context.Context, done func()) {
		s.waits.Go(func() { // It may have to wait for the kernel.
			defer done()
			if o := s.objects.channels.Find(args[0]); o == nil || !o.changeAddress(ctx, int(args[1]), address) {
				s.counters.signalsFailed.Add(1)
			}
		})
	}
}

// changeAddress changes our own address, if the bus is of type ipmb and has
// this number.
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
	o.server.Changed(o)
	return true
}

// leadingBytes is the first n arguments, if they are bytes.
func leadingBytes(body []any, n int) ([4]byte, bool) {
	var head [4]byte
	if len(body) < n {
		return head, false
	}
	for i := range n {
		b, ok := body[i].(byte)
		if !ok {
			return head, false
		}
		head[i] = b
	}
	return head, true
}

// runCommands carries out commands of those who may give them, in order, until ctx
// ends. A bus that is slow to take one holds up no other.
func (s *Server) runCommands(ctx context.Context) {
	slots := make(chan struct{}, maxRunning)
	for {
		var next command
		select {
		case <-ctx.Done():
			return
		case next = <-s.commands:
		}
		if !s.trusted(ctx, next.sender) {
			s.counters.signalsRefused.Add(1)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			s.counters.signalsDropped.Add(1)
			continue
		}
		next.run(ctx, func() { <-slots })
	}
}
