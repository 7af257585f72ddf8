package bus

import "sync"

// Directory finds buses by their index. Of buses that share one the first has it. The zero
// value is empty.
type Directory struct {
	mu    sync.RWMutex
	buses [256]*Bus
}

// Find is the bus with an index, nil when there is none.
func (d *Directory) Find(index uint8) *Bus {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.buses[index]
}

// Add gives a bus its index, unless another has it that is not on its way out.
func (d *Directory) Add(b *Bus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.buses[b.Index()]; other == nil || other.Leaving() {
		d.buses[b.Index()] = b
	}
}

// Free frees the index of a bus, unless another has it. Until then a bus that has left is
// found, and refuses, so that one that begins anew is Down and not unknown.
func (d *Directory) Free(b *Bus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.buses[b.Index()] == b {
		d.buses[b.Index()] = nil
	}
}
