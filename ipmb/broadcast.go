package ipmb

import (
	"context"

	"ipmbd/ipmi"
)

// Broadcast writes a request to address 00h as ipmbbridge does: a plain frame
// with sequence number 0 and the requester LUN given, to which no answer is
// expected, written up to four times until it is acknowledged.
func (e *Engine) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	result := make(chan error, 1)
	if err := e.StartBroadcast(func(err error) { result <- err }, netFn, lun, cmd, data); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StartBroadcast is Broadcast that returns at once. done is told once how it ended, by
// the engine's own loops: it must not block and not use the engine. An error means
// that nothing was sent, and that done is not called. data is not kept.
func (e *Engine) StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	if netFn > ipmi.MaxNetFn || netFn.IsResponse() {
		return invalid("netFn %02Xh", uint8(netFn))
	}
	if lun > ipmi.MaxLUN {
		return invalid("LUN %d", lun)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
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
