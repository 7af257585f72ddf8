package bridge

import (
	"context"
	"errors"

	"ipmbd/ipmi"
)

// eventReceiver is where a host wants this controller's own events (IPMI v2.0, sections 29.1 and
// 29.2). This controller is its own event receiver: the events go to its log at any address except
// noEventReceiver, which turns them off.
type eventReceiver struct {
	address ipmi.Address
	lun     ipmi.LUN
}

const noEventReceiver = 0xFF

// receiverOf returns the event receiver of a host, at first ourselves.
func (b *Bridge) receiverOf(host int) eventReceiver {
	if r, ok := b.receivers[host]; ok {
		return r
	}
	return eventReceiver{address: ipmi.BMCAddress}
}

// record is an event as the event message buffer has it.
type record [16]byte

const (
	// maxEvents is how many events a buffer holds. The standard asks for one.
	maxEvents = 16
	// noRecordID: the log's number for the event is not known.
	noRecordID = 0xFFFF
)

// platformEvent serves Platform Event on a bridged interface: it acknowledges the event when the
// log has it.
func platformEvent(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	e, code := ipmi.ParseEvent(req)
	if code != ipmi.CodeOK {
		reply.Answer(refuse(code), nil)
		return
	}
	i.bridge.config.Blocking.Queue(func(ctx context.Context, _ *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{}, i.logEvent(ctx, e)
	}, req, reply)
}

// offerEvent gives an event to the interface's own handler, and serves it if that handler serves
// no events. The handler logs the events that it acknowledges. If it does so too late, the
// requester gets no acknowledgement and sends the event again.
func (i *Interface) offerEvent(req *ipmi.Request, next ipmi.Handler, reply ipmi.Reply) {
	next.ServeIPMI(req, ipmi.ReplyFunc(func(response ipmi.Response, err error) bool {
		unknown := err == nil && response.Code == ipmi.CodeInvalidCommand
		if unknown || errors.Is(err, ipmi.ErrNoHandler) || errors.Is(err, ipmi.ErrNotPresent) {
			platformEvent(i, req, reply)
			return true
		}
		taken := reply.Answer(response, err)
		if taken && err == nil && response.Code == ipmi.CodeOK {
			if e, code := ipmi.ParseEvent(req); code == ipmi.CodeOK {
				i.acknowledged(e)
			}
		}
		return taken
	}))
}

// Report logs an event of this controller's own about the interface's host, as ReceiveEvent does,
// unless the host has turned such events off.
func (i *Interface) Report(ctx context.Context, e ipmi.Event) error {
	b := i.bridge
	b.mu.Lock()
	off := b.receiverOf(i.config.Host).address == noEventReceiver
	b.mu.Unlock()
	if off {
		i.counts.Count(eventsOff)
		return nil
	}
	return i.ReceiveEvent(ctx, e)
}

// ReceiveEvent logs an event from the interface, behind those that wait for the log.
// When it returns without an error, the event is in the log and in the buffers, and published. It
// returns ErrBusy if too many events wait.
func (i *Interface) ReceiveEvent(ctx context.Context, e ipmi.Event) error {
	begun := false
	queued := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		i.bridge.config.Blocking.Queue(func(context.Context, *ipmi.Request) (ipmi.Response, error) {
			begun = true
			return ipmi.Response{}, i.logEvent(ctx, e)
		}, req, reply)
	})
	_, err := ipmi.Do(ctx, queued, &ipmi.Request{Interface: i.config.Name})
	if errors.Is(err, ipmi.ErrNotPresent) && !begun { // The bridge has ended: no event waits.
		return i.logEvent(ctx, e)
	}
	return err
}

// logEvent gives an event to the log, if events of the interface are logged, and then acknowledges
// it.
func (i *Interface) logEvent(ctx context.Context, e ipmi.Event) error {
	err := ctx.Err()
	if err == nil && i.logs() {
		err = i.bridge.config.Log.Add(ctx, e)
	}
	if err != nil {
		i.counts.Count(eventsFailed)
		return err
	}
	i.acknowledged(e)
	return nil
}

// logs reports whether events of the interface go to the log. The host may have turned that off,
// but not for its own events (IPMI v2.0, section 22.1).
func (i *Interface) logs() bool {
	b := i.bridge
	if b.config.Log == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.holderOf(i)
	return i.bus == nil || host.bus != nil || host.enables&enableLogging != 0
}

// acknowledged puts an event into the buffers of its host's interfaces, where they are enabled,
// and publishes it. In a full buffer the events that are there stay; the log has all.
func (i *Interface) acknowledged(e ipmi.Event) {
	b := i.bridge
	now := b.config.Now()
	i.counts.Count(eventsTaken)
	b.mu.Lock()
	for _, other := range b.interfaces {
		switch {
		case !other.config.Bridged || other.config.Host != i.config.Host || other.enables&enableEventBuffer == 0:
		case len(other.events) >= maxEvents:
			other.counts.Count(eventsNotBuffered)
		default:
			other.events = append(other.events, e.Record(noRecordID, now))
		}
	}
	b.mu.Unlock()
	b.wake()
	b.config.Publish(e)
}

// readEventBuffer serves Read Event Message Buffer.
func readEventBuffer(i *Interface, _ *ipmi.Request) ipmi.Response {
	if len(i.events) == 0 {
		return refuse(codeEmpty)
	}
	oldest := i.events[0]
	i.events = i.events[1:]
	i.bridge.wake()
	return answer(oldest[:]...)
}

// setEventReceiver serves Set Event Receiver, for the interface's host only. The sensors, which all
// hosts share, are rearmed.
func setEventReceiver(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	address, lun := req.Data[0], req.Data[1]
	if address&1 != 0 && address != noEventReceiver || lun > byte(ipmi.MaxLUN) {
		reply.Answer(refuse(ipmi.CodeInvalidField), nil)
		return
	}
	b := i.bridge
	b.mu.Lock()
	b.receivers[i.config.Host] = eventReceiver{ipmi.Address(address), ipmi.LUN(lun)}
	b.mu.Unlock()
	b.config.Rearm()
	reply.Answer(answer(), nil)
}

// getEventReceiver serves Get Event Receiver.
func getEventReceiver(i *Interface, _ *ipmi.Request) ipmi.Response {
	r := i.bridge.receiverOf(i.config.Host)
	return answer(byte(r.address), byte(r.lun))
}
