package sim

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ipmbd/i2c"
	"ipmbd/internal/counters"
)

// Faults are the probabilities, from 0 to 1, of the faults of a written frame. A frame has at most
// one fault, so they add up to 1 at most. The zero value is a bus without faults.
type Faults struct {
	// Seed makes a run repeatable. The same seed, 0 included, gives the n-th frame the same fault
	// in every run.
	Seed uint64

	// Drop: the bus takes the frame and no node receives it.
	Drop float64
	// Duplicate: the frame is sent twice.
	Duplicate float64
	// Corrupt: some bits of one byte are inverted. It is never the address, so the frame arrives,
	// and one of IPMB's checksums is wrong.
	Corrupt float64
	// NotAcknowledge: nothing is sent and the writer gets i2c.ErrAddressNotAcknowledged.
	NotAcknowledge float64
	// LoseArbitration: nothing is sent and the writer gets i2c.ErrArbitrationLost.
	LoseArbitration float64
	// Delay: the bus takes the frame and sends it after DelayMin to DelayMax.
	Delay float64
	// Reorder: the bus takes the frame and sends it after the next one, or after DelayMax if there
	// is none.
	Reorder float64

	// DelayMin and DelayMax are the bounds of a random delay, both included.
	DelayMin, DelayMax time.Duration
}

// fault is a fault of one frame.
type fault int

const (
	drop fault = iota
	duplicate
	corrupt
	notAcknowledge
	loseArbitration
	delay
	reorder
	noFault
)

// counterNames are the names of the faults in Counters.
var counterNames = []string{
	drop:            "faults-dropped",
	duplicate:       "faults-duplicated",
	corrupt:         "faults-corrupted",
	notAcknowledge:  "faults-not-acknowledged",
	loseArbitration: "faults-arbitration-lost",
	delay:           "faults-delayed",
	reorder:         "faults-reordered",
}

// fields are the names of the faults' fields in Faults.
var fields = [noFault]string{
	"Drop", "Duplicate", "Corrupt", "NotAcknowledge", "LoseArbitration", "Delay", "Reorder",
}

// probabilities are the probabilities of the faults.
func (f *Faults) probabilities() [noFault]float64 {
	return [noFault]float64{
		f.Drop, f.Duplicate, f.Corrupt, f.NotAcknowledge, f.LoseArbitration, f.Delay, f.Reorder,
	}
}

// Validate reports every probability and delay that is wrong, joined in one error.
func (f Faults) Validate() error {
	var errs []error
	sum := 0.0
	for i, p := range f.probabilities() {
		if !(p >= 0 && p <= 1) {
			errs = append(errs, fmt.Errorf("%s: probability %v is not from 0 to 1", fields[i], p))
		}
		sum += p
	}
	// The sum of probabilities such as 0.1 is not exact.
	if sum > 1+1e-9 {
		errs = append(errs, fmt.Errorf("probabilities add up to %v, more than 1", sum))
	}
	if f.DelayMin < 0 || f.DelayMax < f.DelayMin {
		errs = append(errs, fmt.Errorf("delay from %v to %v: must be from 0 up", f.DelayMin, f.DelayMax))
	}
	if (f.Delay > 0 || f.Reorder > 0) && f.DelayMax <= 0 {
		errs = append(errs, errors.New("a delayed or reordered frame needs a longest delay"))
	}
	return errors.Join(errs...)
}

// faultAt returns the fault for a number from 0 to 1. Each fault has a stretch as long as its
// probability.
func (f *Faults) faultAt(x float64) fault {
	for i, p := range f.probabilities() {
		if x < p {
			return fault(i)
		}
		x -= p
	}
	return noFault
}

// maxLate is the number of delayed and reordered frames that may wait in an Injector. It drops
// more.
const maxLate = 1 << 16

// Injector is a transport that applies faults to the frames that are written. It does not change
// the frames that are read.
type Injector struct {
	i2c.Transport
	faults Faults
	counts counters.Set[fault]

	// writing is full while a goroutine writes to the transport, which takes one writer at a time:
	// the caller of WriteFrame, or a timer with a late frame.
	writing chan struct{}

	mu     sync.Mutex
	random *rand.Rand
	late   map[*lateFrame]struct{} // waiting to be sent
	held   []*lateFrame            // those the frames of late that are sent after the next frame
	closed bool
	timers sync.WaitGroup
}

// lateFrame is a frame that is sent later.
type lateFrame struct {
	frame []byte
	timer *time.Timer
}

// Inject puts faults between a writer and t, which the injector owns from then on. The faults must
// be valid.
func Inject(t i2c.Transport, faults Faults) *Injector {
	return &Injector{
		Transport: t,
		faults:    faults,
		counts:    counters.New[fault](counterNames),
		writing:   make(chan struct{}, 1),
		random:    rand.New(rand.NewPCG(faults.Seed, 0)),
		late:      make(map[*lateFrame]struct{}),
	}
}

// WriteFrame implements i2c.Transport. If the transport refuses the frame, there is no fault.
func (i *Injector) WriteFrame(frame []byte) error {
	if i.Limits().Check(frame) != nil {
		return i.write(frame)
	}
	fault, how, err := i.drawFault()
	if err != nil {
		return err
	}
	switch fault {
	case drop:
		return nil
	case notAcknowledge:
		return i2c.ErrAddressNotAcknowledged
	case loseArbitration:
		return i2c.ErrArbitrationLost
	case delay:
		part := float64(how>>11) / (1 << 53) // from 0 to 1
		after := i.faults.DelayMin + time.Duration(part*float64(i.faults.DelayMax-i.faults.DelayMin))
		i.postpone(frame, after, false)
		return nil
	case reorder:
		i.postpone(frame, i.faults.DelayMax, true)
		return nil
	case corrupt:
		frame = slices.Clone(frame)
		if len(frame) > 1 {
			frame[1+how>>32%uint64(len(frame)-1)] ^= byte(1 + how%255)
		}
	case duplicate:
		if err := i.write(frame); err != nil {
			return err
		}
	}
	err = i.write(frame)
	i.sendHeld()
	return err
}

// drawFault draws a fault and a random number for its details. Each frame takes the same count of
// random numbers, so that one frame does not change the faults of the next.
func (i *Injector) drawFault() (f fault, how uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return noFault, 0, i2c.ErrClosed
	}
	f, how = i.faults.faultAt(i.random.Float64()), i.random.Uint64()
	if (f == delay || f == reorder) && len(i.late) == maxLate {
		f = drop
	}
	if f != noFault {
		i.counts.Count(f)
	}
	return f, how, nil
}

// write sends a frame when no other write is in progress.
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
		i.stopTimer(f)
		i.sendLate(f)
	}
}

func (i *Injector) stopTimer(f *lateFrame) {
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
	all := i.counts.Statistics()
	if inner, ok := i.Transport.(i2c.Counter); ok {
		maps.Copy(all, inner.Counters())
	}
	return all
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
		i.stopTimer(f)
	}
	i.timers.Wait()
	return err
}
