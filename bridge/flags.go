package bridge

import "ipmbd/ipmi"

// flags are the message flags (IPMI v2.0, section 22.4). Bits 5 to 7 are the manufacturer's.
type flags uint8

const (
	flagMessage    flags = 1 << 0 // in the receive message queue
	flagEvent      flags = 1 << 1 // in the event message buffer
	flagPreTimeout flags = 1 << 3 // the watchdog's, see SetPreTimeout

	reservedFlags flags = 1<<2 | 1<<4
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

// flags returns the message flags of the queue and the buffer as they are now. A buffer that is
// disabled has no flag.
func (i *Interface) flags() flags {
	var f flags
	if len(i.queue.messages) > 0 {
		f |= flagMessage
	}
	if len(i.events) > 0 && i.enables&enableEventBuffer != 0 {
		f |= flagEvent
	}
	if i.preTimeout {
		f |= flagPreTimeout
	}
	return f
}

// SetPreTimeout sets whether a pre-timeout interrupt of the interface's watchdog is pending. It
// does not block.
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

// Attention returns the attention that the host should see now: Raised while a flag is set.
func (i *Interface) Attention() ipmi.Attention {
	i.bridge.mu.Lock()
	defer i.bridge.mu.Unlock()
	i.dropExpired()
	return i.attention()
}

// getFlags serves Get Message Flags.
func getFlags(i *Interface, _ *ipmi.Request) ipmi.Response { return answer(byte(i.flags())) }

// clearFlags serves Clear Message Flags. It drops the messages of the flags.
func clearFlags(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	clear := flags(req.Data[0])
	if clear&reservedFlags != 0 {
		reply.Answer(refuse(ipmi.CodeInvalidField), nil)
		return
	}
	if clear&flagPreTimeout != 0 {
		i.config.ClearPreTimeout() // which calls SetPreTimeout
	}
	locked(func(i *Interface, _ *ipmi.Request) ipmi.Response {
		if clear&flagMessage != 0 {
			i.counts.Add(messagesCleared, len(i.queue.messages))
			i.queue.messages = nil
		}
		if clear&flagEvent != 0 {
			i.events = nil
		}
		i.bridge.wake()
		return answer()
	})(i, req, reply)
}

// setEnables serves Set BMC Global Enables. It ignores the reserved bit, which firmware sets.
func setEnables(i *Interface, req *ipmi.Request) ipmi.Response {
	i.enables = enables(req.Data[0]) &^ reservedEnables
	i.bridge.wake()
	return answer()
}

// getEnables serves Get BMC Global Enables.
func getEnables(i *Interface, _ *ipmi.Request) ipmi.Response { return answer(byte(i.enables)) }
