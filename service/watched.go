package service

import (
	"errors"

	"ipmbd/i2c"
)

// stuckWrites is how many writes in a row a bus may fail to carry before it
// counts as Degraded. A frame that nobody acknowledges is not among them: that
// is the responder's state, not the bus's.
const stuckWrites = 4

// watched is a transport whose reads and writes tell the state of the bus.
type watched struct {
	i2c.Transport
	bus     *engineBus
	reading bool // the engine reads from one goroutine
	stuck   int  // writes in a row; the engine writes from one goroutine
}

// ReadFrames implements i2c.Transport. The engine runs when it is called, and
// its error is the end of the transport.
func (w *watched) ReadFrames(b *i2c.Batch) error {
	if !w.reading {
		w.reading = true
		w.bus.started()
	}
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
			w.bus.setStuck(err.Error())
		}
	default:
		if w.stuck >= stuckWrites {
			w.bus.setStuck("")
		}
		w.stuck = 0
	}
	return err
}
