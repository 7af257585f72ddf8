package dbusapi

import (
	"context"
	"time"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// receivedMessage is the signal of a bus's object.
const receivedMessage = xml.BusInterface + ".ReceivedMessage"

// SignalHandler is the handler of a bus whose requests are answered by clients
// on D-Bus: it emits ReceivedMessage and has sendResponse answer. A request
// without an answer is ipmi.ErrNoHandler, a little before its deadline, while no
// client that has ever answered is on the message bus. A command that carries a
// secret is in no signal, and so served by nobody.
func (o *BusObject) SignalHandler() ipmi.Handler {
	o.answered.Store(true)
	return ipmi.HandlerFunc(o.serveBySignal)
}

func (o *BusObject) serveBySignal(req *ipmi.Request, reply ipmi.Reply) {
	if ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) {
		reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
		return
	}
	id := o.server.nextID()
	o.waiting.add(id, newSignalled(req, reply), o.endUnserved)
	if !o.announce(id, req) {
		o.waiting.remove(id)
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
	}
}

// endUnserved answers requests whose time is nearly over, unless a client may answer them
// still.
func (o *BusObject) endUnserved() {
	for _, r := range o.waiting.unserved(time.Now(), o.server.answerers.any()) {
		r.reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
	}
	o.waiting.lookAgain()
}

// Announce is a handler that emits ReceivedMessage for each request and lets
// next answer it.
func (o *BusObject) Announce(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		// One write sends the signal and what next sends by the connection.
		o.Together(func() {
			if !ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) {
				o.announce(o.server.nextID(), req)
			}
			next.ServeIPMI(req, reply)
		})
	})
}

// Together does work, during which what the service sends waits, to leave in one write.
func (o *BusObject) Together(work func()) { o.server.conn.Together(work) }

// announce emits ReceivedMessage and reports whether it will be sent.
func (o *BusObject) announce(id uint64, req *ipmi.Request) bool {
	b := o.server.signal(o.path, receivedMessage, "tyyyyay", 16+len(req.Data))
	b = dbuswire.AppendUint64(b, id)
	b = append(b, byte(req.Requester), byte(req.NetFn), byte(req.LUN), byte(req.Command))
	return o.emit(dbuswire.AppendBytes(b, req.Data))
}

// sendResponse serves xyz.openbmc_project.Ipmi.Channel.Ipmb.sendResponse.
func sendResponse(ctx context.Context, c *call) ([]any, error) {
	o := c.object.bus
	if !o.answered.Load() {
		return nil, errNotAnswered
	}
	c.server.answerers.add(ctx, c.sender)
	res := ipmi.Response{Code: ipmi.CompletionCode(c.args[1].(byte)), Data: c.args[2].([]byte)}
	if !o.waiting.answer(c.args[0].(uint64), res) {
		return nil, errUnknownID
	}
	return nil, nil
}
