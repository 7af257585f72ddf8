package ipmb

// Renew gives an engine other settings, as for New, between two Runs: it begins
// anew but for what it remembers of the bus, which are the numbers that are held
// and the answers kept for repeats. An engine that runs stays as it is: that is an
// error.
func (e *Engine) Renew(config Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.occupied {
		return errRunning
	}
	e.config = config.withDefaults()
	e.address, e.policy = e.config.Address, e.config.RetryPolicy
	e.handlers.limit, e.patient.limit = e.config.MaxHandlers, e.config.MaxHandlers
	e.requests.window = max(e.config.DuplicateWindow, 0)
	e.drained = nil
	e.counts.reset()
	return nil
}
