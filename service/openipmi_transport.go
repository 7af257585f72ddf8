package service

import (
	"errors"
	"fmt"

	"ipmbd/host"
	"ipmbd/i2c"
	"ipmbd/ipmb"
)

// openIPMITransport is an OpenIPMI device as the engine that serves its requests
// knows it: each is a frame to noNode.
type openIPMITransport struct {
	device  openIPMIDevice
	events  *openIPMIEvents
	began   func() // told when the engine reads
	reading bool   // from one goroutine
}

// ReadFrames implements i2c.Transport.
func (t *openIPMITransport) ReadFrames(b *i2c.Batch) error {
	if !t.reading {
		t.reading = true
		t.began()
	}
	for b.Reset(); len(b.Frames()) == 0; {
		m, err := t.device.Receive()
		switch {
		case err != nil:
			return err
		case m.Event:
			t.events.take(m.Data)
		default:
			frame := ipmb.Frame{
				Destination: noNode, NetFn: m.NetFn, DestinationLUN: m.LUN,
				Source: m.Requester, Sequence: m.Sequence, SourceLUN: m.RequesterLUN,
				Command: m.Command, Data: m.Data,
			}
			b.Add(0, len(frame.Append(b.Room()[:0])))
		}
	}
	return nil
}

// WriteFrame implements i2c.Transport: a frame is a response.
func (t *openIPMITransport) WriteFrame(frame []byte) error {
	f, err := ipmb.Decode(frame)
	if err != nil {
		return fmt.Errorf("%w: %w", i2c.ErrStuck, err)
	}
	err = asBusError(t.device.Respond(host.OpenIPMIMessage{
		Requester: f.Destination, RequesterLUN: f.DestinationLUN, Sequence: f.Sequence,
		NetFn: f.NetFn.Request(), LUN: f.SourceLUN, Command: f.Command, Data: f.Data,
	}, f.Code))
	if err == nil || errors.Is(err, i2c.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", i2c.ErrStuck, err)
}

// Limits implements i2c.Transport: those of responses, whose data the device counts
// with the completion code.
func (t *openIPMITransport) Limits() i2c.Limits {
	return i2c.Limits{MaxFrame: ipmb.MinRequest + t.device.MaxData()}
}

// Close implements i2c.Transport.
func (t *openIPMITransport) Close() error { return t.device.Close() }
