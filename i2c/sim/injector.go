package sim

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ipmbd/i2c"
)

// maxLate is the number of delayed and reordered frames that may wait in an Injector. It drops
// more.
const maxLate = 1 << 16

// Injector is a transport whose written frames meet with faults. It does not change the frames
// that are read.
type Injector struct {
	i2c.Transport
	faults Faults

	// writing is full while a goroutine writes to the transport, which takes one writer at a
	// time: the caller of WriteFrame, or a timer with a late frame.
	writing chan struct{}

	mu     sync.Mutex
	random *rand.Rand
	counts [faultCount]uint64
	late   map[*lateFrame]struct{} // waiting to be sent
	held   []*lateFrame            // those of late that go after the next frame
	closed bool
	timers sync.WaitGroup
}

// lateFrame is a frame that is sent later.
type lateFrame struct {
	frame []byte
	timer *time.Timer
}

// Inject puts faults between a writer and t, which belongs to the injector from now on. The
// faults must be valid.
func Inject(t i2c.Transport, faults Faults) *Injector {
	return &Injector{
		Transport: t,
		faults:    faults,
		writing:   make(chan struct{}, 1),
		random:    rand.New(rand.NewPCG(faults.Seed, 0)),
		late:      make(map[*lateFrame]struct{}),
	}
}

// WriteFrame implements i2c.Transport. A frame that the transport refuses meets with no fault.
func (i *Injector) WriteFrame(frame []byte) error {
	if i.Limits().Check(frame) != nil {
		return i.write(frame)
	}
	kind, how, err := i.drawFault()
	if err != nil {
		return err
	}
	switch kind {
	case faultDrop:
		return nil
	case faultNotAcknowledge:
		return i2c.ErrAddressNotAcknowledged
	case faultLoseArbitration:
		return i2c.ErrArbitrationLost
	case faultDelay:
		i.postpone(frame, i.faults.delay(unit(how)), false)
		return nil
	case faultReorder:
		i.postpone(frame, i.faults.DelayMax, true)
		return nil
	case faultCorrupt:
		frame = corrupt(frame, how)
	case faultDuplicate:
		if err := i.write(frame); err != nil {
			return err
		}
	}
	err = i.write(frame)
	i.sendHeld()
	return err
}

// drawFault draws a fault and a random number for its details. Each frame takes the same count
// of random numbers, so that one frame does not change the faults of the next.
func (i *Injector) drawFault() (kind fault, how uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return faultNone, 0, i2c.ErrClosed
	}
	kind, how = i.faults.befalls(i.random.Float64()), i.random.Uint64()
	if (kind == faultDelay || kind == faultReorder) && len(i.late) == maxLate {
		kind = faultDrop
	}
	if kind != faultNone {
		i.counts[kind]++
	}
	return kind, how, nil
}

// unit is a random number as one from 0 to 1.
func unit(random uint64) float64 { return float64(random>>11) / (1 << 53) }

// corrupt is a copy of the frame with some bits of one byte inverted.
func corrupt(frame []byte, how uint64) []byte {
	frame = slices.Clone(frame)
	if len(frame) > 1 {
		frame[1+how>>32%uint64(len(frame)-1)] ^= byte(1 + how%255)
	}
	return frame
}

// write sends a frame when no other write is under way.
func (i *Injector) write(frame []byte) error {
	i.writing <- struct{}{}
	defer func() { <-i.writing }()
	return i.Transport.WriteFrame(frame)
}

// postpone sends a copy of the frame later. A held frame is sent after the next frame if that
// comes first.
func (i *Injector) postpone(frame []byte, after time.Duration, hold bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	f := &lateFrame{frame: slices.Clone(frame)}
	i.timers.Add(1)
	f.timer = time.AfterFunc(after, func() {
		defer i.timers.Done()
		i.sendLate(f)
	})
	i.late[f] = struct{}{}
	if hold {
		i.held = append(i.held, f)
	}
}

// sendHeld sends the frames that were held until another one was sent.
func (i *Injector) sendHeld() {
	i.mu.Lock()
	held := i.held
	i.held = nil
	i.mu.Unlock()
	for _, f := range held {
		i.cancel(f)
		i.sendLate(f)
	}
}

// cancel stops a late frame's timer.
func (i *Injector) cancel(f *lateFrame) {
	if f.timer.Stop() {
		i.timers.Done()
	}
}

// sendLate sends a late frame unless it was sent or the injector closed. It drops errors: the
// writer of the frame was told that the bus took it.
func (i *Injector) sendLate(f *lateFrame) {
	i.mu.Lock()
	_, waiting := i.late[f]
	delete(i.late, f)
	i.held = slices.DeleteFunc(i.held, func(h *lateFrame) bool { return h == f })
	i.mu.Unlock()
	if waiting {
		_ = i.write(f.frame)
	}
}

// Limits implements i2c.Transport. A request that is sent twice may have two responses.
func (i *Injector) Limits() i2c.Limits {
	limits := i.Transport.Limits()
	if i.faults.Duplicate > 0 && limits.CopyTime == i2c.NoCopies {
		limits.CopyTime = i2c.DefaultCopyTime
	}
	return limits
}

// Counters implements i2c.Counter: the faults by kind, and the transport's own counters.
func (i *Injector) Counters() map[string]uint64 {
	counters := make(map[string]uint64)
	if inner, ok := i.Transport.(i2c.Counter); ok {
		counters = inner.Counters()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for kind, c := range i.faults.chances() {
		counters[c.counter] = i.counts[kind]
	}
	return counters
}

// Close implements i2c.Transport. It drops late frames that were not sent. When it returns, no
// frame is on its way.
func (i *Injector) Close() error {
	i.mu.Lock()
	i.closed = true
	late := i.late
	i.late, i.held = nil, nil
	i.mu.Unlock()

	err := i.Transport.Close()
	for f := range late {
		i.cancel(f)
	}
	i.timers.Wait()
	return err
}
