package bus

import "ipmbd/ipmi"

// broadcast is a frame to address 0.
type broadcast struct {
	bus    *Bus
	client *Client
	done   func(error)
	placed bool // it has a place

	netFn ipmi.NetFn
	lun   ipmi.LUN
	cmd   ipmi.Command
	data  []byte
}

func (f *broadcast) send() error {
	return f.bus.link.StartBroadcast(f.end, f.netFn, f.lun, f.cmd, f.data)
}

// end is told how the broadcast has ended.
func (f *broadcast) end(err error) {
	if f.placed {
		f.bus.leave(f.client)
	}
	f.done(err)
}

// place implements waiter.
func (f *broadcast) place() { f.placed = true }

// release implements waiter.
func (f *broadcast) release(b *Bus) {
	b.mu.Unlock()
	defer b.mu.Lock()
	if err := f.send(); err != nil {
		f.end(err)
	}
}

// refuse implements waiter.
func (f *broadcast) refuse(b *Bus, err error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	f.end(err)
}
