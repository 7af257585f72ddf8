package bus

import "sync"

// Listed is a bus in a Directory.
type Listed interface {
	comparable
	Index() uint8
	Leaving() bool
}

// Directory finds buses by their index. If several buses have the same index, the first is found.
// The zero value is empty.
type Directory[B Listed] struct {
	mu    sync.RWMutex
	buses [256]B
}

// Find is the bus with an index, the zero value when there is none.
func (d *Directory[B]) Find(index uint8) B {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.buses[index]
}

// Add gives a bus its index, unless another bus has it that is not leaving.
func (d *Directory[B]) Add(b B) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var none B
	if other := d.buses[b.Index()]; other == none || other.Leaving() {
		d.buses[b.Index()] = b
	}
}

// Free frees the index of a bus, unless another bus has it. Until then a bus that has left is
// found, and refuses: clients find a bus that is replaced Down, and not unknown.
func (d *Directory[B]) Free(b B) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.buses[b.Index()] == b {
		var none B
		d.buses[b.Index()] = none
	}
}
