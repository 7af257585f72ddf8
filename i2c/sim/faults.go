package sim

import (
	"errors"
	"fmt"
	"time"
)

// Faults are the probabilities, from 0 to 1, of what goes wrong with a frame that is written.
// At most one fault befalls a frame, so they add up to 1 at most. The zero value is a bus
// without faults.
type Faults struct {
	// Seed makes a run repeatable. The same seed, 0 included, gives the n-th frame the same
	// fault in every run.
	Seed uint64

	// Drop: the bus takes the frame and no node receives it.
	Drop float64
	// Duplicate: the frame is sent twice.
	Duplicate float64
	// Corrupt: some bits of one byte are inverted. It is never the address, so the frame
	// arrives, and one of IPMB's checksums is wrong.
	Corrupt float64
	// NotAcknowledge: nothing is sent and the writer gets
	// ErrAddressNotAcknowledged.
	NotAcknowledge float64
	// LoseArbitration: nothing is sent and the writer gets ErrArbitrationLost.
	LoseArbitration float64
	// Delay: the bus takes the frame and sends it after DelayMin to DelayMax.
	Delay float64
	// Reorder: the bus takes the frame and sends it after the next one, or after DelayMax if
	// there is none.
	Reorder float64

	// DelayMin and DelayMax are the bounds of a random delay, both included.
	DelayMin, DelayMax time.Duration
}

// Validate reports every probability and delay that is wrong, joined in one error.
func (f Faults) Validate() error {
	var errs []error
	sum := 0.0
	for _, c := range f.chances() {
		if !(c.probability >= 0 && c.probability <= 1) {
			errs = append(errs, fmt.Errorf("%s: probability %v is not from 0 to 1", c.field, c.probability))
		}
		sum += c.probability
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

// fault is what befalls a frame.
type fault int

const (
	faultDrop fault = iota
	faultDuplicate
	faultCorrupt
	faultNotAcknowledge
	faultLoseArbitration
	faultDelay
	faultReorder
	faultCount
	faultNone = faultCount
)

// chance is a fault's field in Faults, its name in Counters, and its
// probability.
type chance struct {
	field, counter string
	probability    float64
}

func (f *Faults) chances() [faultCount]chance {
	return [faultCount]chance{
		faultDrop:            {"Drop", "faults-dropped", f.Drop},
		faultDuplicate:       {"Duplicate", "faults-duplicated", f.Duplicate},
		faultCorrupt:         {"Corrupt", "faults-corrupted", f.Corrupt},
		faultNotAcknowledge:  {"NotAcknowledge", "faults-not-acknowledged", f.NotAcknowledge},
		faultLoseArbitration: {"LoseArbitration", "faults-arbitration-lost", f.LoseArbitration},
		faultDelay:           {"Delay", "faults-delayed", f.Delay},
		faultReorder:         {"Reorder", "faults-reordered", f.Reorder},
	}
}

// befalls is the fault that a number from 0 to 1 stands for. The stretch of each fault is as
// long as its probability.
func (f *Faults) befalls(x float64) fault {
	for kind, c := range f.chances() {
		if x < c.probability {
			return fault(kind)
		}
		x -= c.probability
	}
	return faultNone
}

// delay is the time that a number from 0 to 1 stands for.
func (f *Faults) delay(x float64) time.Duration {
	return f.DelayMin + time.Duration(x*float64(f.DelayMax-f.DelayMin))
}
