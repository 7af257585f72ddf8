// Package await waits in tests for events in other processes or goroutines. Its functions fail the
// test after the time limit; the argument what is the text of the failure.
package await

import (
	"testing"
	"time"
)

// pollTime is how often Until looks.
const pollTime = 5 * time.Millisecond

// Until waits for something to become true.
func Until(t testing.TB, timeLimit time.Duration, what string, happened func() bool) {
	t.Helper()
	again := time.NewTicker(pollTime)
	defer again.Stop()
	end := time.After(timeLimit)
	for !happened() {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("waited %v in vain: %s", timeLimit, what)
		}
	}
}

// Receive returns the next value of a channel.
func Receive[T any](t testing.TB, timeLimit time.Duration, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(timeLimit):
		t.Fatalf("waited %v in vain: %s", timeLimit, what)
		panic("unreachable")
	}
}
