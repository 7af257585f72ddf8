package i2c

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// maxLate is how many delayed and reordered frames may wait in an Injector;
// more are dropped.
const maxLate = 1 << 16

// Injector is a transport whose written frames meet with faults. What it reads
// is left alone.
type Injector struct {
	Transport
	faults Faults

	// turn is held to write to the transport, which takes one writer at a
	// time: ours, or a timer with a late frame.
	turn chan struct{}

	mu     sync.Mutex
	random *rand.Rand
	counts [faultCount]uint64
	late   map[*lateFrame]struct{} // waiting to be sent
	held   []*lateFrame            // of those, what waits for the next frame
	closed bool
	timers sync.WaitGroup
}

// lateFrame is a frame that is to be sent later.
type lateFrame struct {
	frame []byte
	timer *time.Timer
}

// Inject puts faults, which are valid, between a writer and t, which belongs
// to the injector from now on.
func Inject(t Transport, faults Faults) *Injector {
	return &Injector{
		Transport: t,
		faults:    faults,
		turn:      make(chan struct{}, 1),
		random:    rand.New(rand.NewPCG(faults.Seed, 0)),
		late:      make(map[*lateFrame]struct{}),
	}
}

// WriteFrame implements Transport. A frame that the transport would not send
// meets with no fault.
func (i *Injector) WriteFrame(frame []byte) error {
	if checkLength(frame, i.Limits().MaxFrame) != nil {
		return i.write(frame)
	}
	kind, how, err := i.decide()
	if err != nil {
		return err
	}
	switch kind {
	case faultDrop:
		return nil
	case faultNotAcknowledge:
		return ErrAddressNotAcknowledged
	case faultLoseArbitration:
		return ErrArbitrationLost
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
	i.release()
	return err
}

// decide draws a fault and how it is to be done. Each frame takes the same
// count of random numbers, so that one does not change the faults of the next.
func (i *Injector) decide() (kind fault, how uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return faultNone, 0, ErrClosed
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

// write sends a frame in its turn.
func (i *Injector) write(frame []byte) error {
	i.turn <- struct{}{}
	defer func() { <-i.turn }()
	return i.Transport.WriteFrame(frame)
}

// postpone sends a copy of the frame after a while, or, when it is held, after
// the next frame if that comes first.
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

// release sends the frames that were held for the one that went out now.
func (i *Injector) release() {
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

// sendLate sends a late frame unless it was sent or the injector closed. The writer
// of the frame was told that the bus took it, so nobody is told of an error.
func (i *Injector) sendLate(f *lateFrame) {
	i.mu.Lock()
	_, waits := i.late[f]
	delete(i.late, f)
	i.held = slices.DeleteFunc(i.held, func(h *lateFrame) bool { return h == f })
	i.mu.Unlock()
	if waits {
		_ = i.write(f.frame)
	}
}

// Limits implements Transport. A request that is sent twice may be answered
// twice.
func (i *Injector) Limits() Limits {
	limits := i.Transport.Limits()
	if i.faults.Duplicate > 0 && limits.CopyTime == NoCopies {
		limits.CopyTime = DefaultCopyTime
	}
	return limits
}

// Counters implements Counter: the faults by kind, and the transport's own.
func (i *Injector) Counters() map[string]uint64 {
	counters := make(map[string]uint64)
	if inner, ok := i.Transport.(Counter); ok {
		counters = inner.Counters()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for kind, c := range i.faults.chances() {
		counters[c.counter] = i.counts[kind]
	}
	return counters
}

// Close implements Transport. Late frames that were not sent are not sent any
// more, and none is on its way when it returns.
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
