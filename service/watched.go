package service

import (
	"errors"

	"ipmbd/dbusapi"
	"ipmbd/i2c"
)

// stuckWrites is how many writes in a row a bus may fail to carry before it
// counts as Degraded. A frame that nobody acknowledges is not among them: that
// is the responder's state, not the bus's.
const stuckWrites = 4

// watched is a transport whose reads and writes tell the state of the bus.
type watched struct {
	i2c.Transport
	bus   *engineBus
	stuck int // writes in a row; the engine writes from one goroutine
}

// ReadFrames implements i2c.Transport. Its error is the end of the transport.
func (w *watched) ReadFrames(b *i2c.Batch) error {
	err := w.Transport.ReadFrames(b)
	if err != nil {
		w.bus.setOver()
	}
	return err
}

// WriteFrame implements i2c.Transport.
func (w *watched) WriteFrame(frame []byte) error {
	err := w.Transport.WriteFrame(frame)
	switch {
	case errors.Is(err, i2c.ErrClosed):
		w.bus.setOver()
	case errors.Is(err, i2c.ErrStuck):
		w.stuck++
		if w.stuck == stuckWrites {
			w.bus.setHealth(dbusapi.Degraded, err.Error())
		}
	default:
		if w.stuck >= stuckWrites {
			w.bus.setHealth(dbusapi.Up, "")
		}
		w.stuck = 0
	}
	return err
}
