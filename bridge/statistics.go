package bridge

// counter names a count. The text is the name in Statistics.
type counter int

const (
	bridgedTracked counter = iota
	bridgedUntracked
	bridgedUnanswered
	messagesQueued
	messagesFetched
	messagesCleared
	messagesExpired
	messagesRefused
	eventsTaken
	eventsFailed
	eventsNotBuffered
	eventsOff

	counterCount
)

var counterNames = [counterCount]string{
	bridgedTracked:    "bridged-tracked",
	bridgedUntracked:  "bridged-untracked",
	bridgedUnanswered: "bridged-unanswered",
	messagesQueued:    "messages-queued",
	messagesFetched:   "messages-fetched",
	messagesCleared:   "messages-cleared",
	messagesExpired:   "messages-expired",
	messagesRefused:   "messages-refused",
	eventsTaken:       "events-taken",
	eventsFailed:      "events-failed",
	eventsNotBuffered: "events-not-buffered",
	eventsOff:         "events-turned-off",
}

// counters are guarded by the bridge's mutex.
type counters [counterCount]uint64

func (c *counters) add(n counter) { c[n]++ }

func (b *Bridge) count(i *Interface, n counter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.counters.add(n)
}

// Statistics is a snapshot of the interface's counters by their names. They
// start at 0 and only grow.
func (i *Interface) Statistics() map[string]uint64 {
	i.bridge.mu.Lock()
	defer i.bridge.mu.Unlock()
	statistics := make(map[string]uint64, counterCount)
	for n, count := range i.counters {
		statistics[counterNames[n]] = count
	}
	return statistics
}
