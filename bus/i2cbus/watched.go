package i2cbus

import (
	"errors"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
)

// A bus is Degraded when stuckWrites writes in a row have failed, or all of them for stuckTime.
// A write that is not acknowledged is not counted: it tells of the responder and not of the bus.
const (
	stuckWrites = 4
	stuckTime   = time.Second // after the end of the first, which takes about 1 s itself
)

// watched is a transport whose reads and writes tell the state of the bus.
type watched struct {
	i2c.Transport
	bus     *bus.Bus
	reading bool      // the engine reads from one goroutine
	stuck   int       // failed writes in a row; the engine makes one at a time
	since   time.Time // when the first of them ended
	told    bool      // the bus is Degraded because of them
}

// watchTransport makes a transport watched. A DirectWriter stays one.
func watchTransport(t i2c.Transport, b *bus.Bus) i2c.Transport {
	w := &watched{Transport: t, bus: b}
	if direct, ok := t.(i2c.DirectWriter); ok {
		return &watchedDirect{w, direct}
	}
	return w
}

// watchedDirect is a watched transport that can write without a wait.
type watchedDirect struct {
	*watched
	direct i2c.DirectWriter
}

// TryWriteFrame implements i2c.DirectWriter.
func (w *watchedDirect) TryWriteFrame(frame []byte) (done bool, err error) {
	done, err = w.direct.TryWriteFrame(frame)
	if done {
		w.wrote(err)
	}
	return done, err
}

// ReadFrames implements i2c.Transport. The engine runs when it is called, and its error is the
// end of the transport.
func (w *watched) ReadFrames(b *i2c.Batch) error {
	if !w.reading {
		w.reading = true
		w.bus.Serving("")
	}
	err := w.Transport.ReadFrames(b)
	if err != nil {
		w.bus.SetEnding()
	}
	return err
}

// WriteFrame implements i2c.Transport.
func (w *watched) WriteFrame(frame []byte) error {
	err := w.Transport.WriteFrame(frame)
	w.wrote(err)
	return err
}

// wrote judges the bus by the outcome of a write.
func (w *watched) wrote(err error) {
	switch {
	case errors.Is(err, i2c.ErrClosed):
		w.bus.SetEnding()
	case errors.Is(err, i2c.ErrStuck):
		if w.stuck == 0 {
			w.since = time.Now()
		}
		w.stuck++
		if w.stuck >= stuckWrites || time.Since(w.since) >= stuckTime {
			w.told = true
			w.bus.SetFailing(err.Error())
		}
	default:
		if w.told {
			w.bus.SetFailing("")
		}
		w.stuck, w.told = 0, false
	}
}
