package bmc

// ClearPreTimeout ends the pending messaging interrupt of an interface's
// watchdog, as Clear Message Flags asks. Config.PreTimeout has been told when it
// returns.
func (b *BMC) ClearPreTimeout(iface string) {
	b.mu.Lock()
	w := b.watchdogs[iface]
	cleared := w != nil && w.pending
	if cleared {
		w.pending = false
	}
	b.mu.Unlock()
	if cleared {
		b.tellPreTimeout(w)
	}
}

// tellPreTimeout tells what is so now, in order: hence the one lock that is held
// over a call. Whoever comes last tells the last state.
func (b *BMC) tellPreTimeout(w *watchdog) {
	if b.config.PreTimeout == nil {
		return
	}
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	iface, pending := w.iface, w.pending
	b.mu.Unlock()
	b.config.PreTimeout(iface, pending)
}
