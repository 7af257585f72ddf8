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
	if err := e.startBroadcast(result, netFn, lun, cmd, data); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) startBroadcast(result chan error, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
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
	e.deliver(&delivery{frame: f.Append(nil), result: result})
	return nil
}
