package bridge

import "ipmbd/ipmi"

// flags are the message flags (IPMI v2.0, section 22.4). Bits 5 to 7 are the
// manufacturer's.
type flags uint8

const (
	flagMessage    flags = 1 << 0 // in the receive message queue
	flagEvent      flags = 1 << 1 // in the event message buffer
	flagPreTimeout flags = 1 << 3 // the watchdog's, see SetPreTimeout
)

// enables are the BMC global enables (IPMI v2.0, section 22.1).
type enables uint8

const (
	enableMessageInterrupt enables = 1 << 0
	enableEventInterrupt   enables = 1 << 1
	enableEventBuffer      enables = 1 << 2
	enableLogging          enables = 1 << 3 // the default

	reservedEnables enables = 1 << 4
)

// flags are what the queue and the buffer hold now.
func (i *Interface) flags() flags {
	var f flags
	if len(i.queue.messages) > 0 {
		f |= flagMessage
	}
	if len(i.events) > 0 {
		f |= flagEvent
	}
	if i.preTimeout {
		f |= flagPreTimeout
	}
	return f
}

// SetPreTimeout says whether the watchdog of the interface has a pre-timeout
// interrupt pending. It does not block.
func (i *Interface) SetPreTimeout(pending bool) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	i.preTimeout = pending
	b.wake()
}

func (i *Interface) attention() ipmi.Attention {
	f := i.flags()
	return ipmi.Attention{
		Raised: f != 0,
		Interrupt: f&(flagMessage|flagPreTimeout) != 0 && i.enables&enableMessageInterrupt != 0 ||
			f&flagEvent != 0 && i.enables&enableEventInterrupt != 0,
		Interrupts: i.enables&(enableMessageInterrupt|enableEventInterrupt) != 0,
	}
}

// Attention is what the host is to be shown now.
func (i *Interface) Attention() ipmi.Attention {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(i)
	return i.attention()
}

func getFlags(i *Interface, _ *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(i)
	return answer(byte(i.flags()))
}

// clearFlags drops what the flags to be cleared stand for.
func clearFlags(i *Interface, req *ipmi.Request) (ipmi.Response, error) {
	clear := flags(req.Data[0])
	if clear&flagPreTimeout != 0 {
		i.config.ClearPreTimeout() // which calls SetPreTimeout
	}
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	if clear&flagMessage != 0 {
		i.counters[messagesCleared] += uint64(len(i.queue.messages))
		i.queue.messages = nil
	}
	if clear&flagEvent != 0 {
		i.events = nil
	}
	b.wake()
	return answer()
}

// setEnables ignores the reserved bit, as firmware sets it.
func setEnables(i *Interface, req *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	i.enables = enables(req.Data[0]) &^ reservedEnables
	b.wake()
	return answer()
}

func getEnables(i *Interface, _ *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	return answer(byte(i.enables))
}
