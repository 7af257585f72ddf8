package ipmb

import (
	"context"

	"ipmbd/ipmi"
)

// Broadcast writes a request to address 00h as ipmbbridge does: a plain frame
// with sequence number 0 and the requester LUN given, to which no answer is
// expected, written up to four times until it is acknowledged.
func (e *Engine) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	return await(ctx, func(done func(error)) error { return e.StartBroadcast(done, netFn, lun, cmd, data) })
}

// StartBroadcast is Broadcast that returns at once. When it returns nil, done is told
// whether the bus has taken the frame, without a lock held; it must not block.
func (e *Engine) StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	if netFn > ipmi.MaxNetFn || netFn.IsResponse() {
		return invalid("netFn %02Xh", uint8(netFn))
	}
	if lun > ipmi.MaxLUN {
		return invalid("LUN %d", lun)
	}
	e.mu.Lock()
	defer e.unlock()
	f := Frame{
		Destination: broadcastAddress,
		NetFn:       netFn,
		Source:      e.address,
		SourceLUN:   lun,
		Command:     cmd,
		Data:        data,
	}
	if err := e.undeliverable(f.Len()); err != nil {
		return err
	}
	e.deliver(&delivery{frame: f.Append(nil), done: done})
	return nil
}
