// Package await waits in tests for what happens in other processes or goroutines. The
// functions fail the test after the time that patience is; what says in the error what they
// have waited for.
package await

import (
	"testing"
	"time"
)

// pollTime is how often Until looks.
const pollTime = 5 * time.Millisecond

// Until waits for something to become true.
func Until(t testing.TB, patience time.Duration, what string, happened func() bool) {
	t.Helper()
	again := time.NewTicker(pollTime)
	defer again.Stop()
	end := time.After(patience)
	for !happened() {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// Receive returns the next value of a channel.
func Receive[T any](t testing.TB, patience time.Duration, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v in vain: %s", patience, what)
		panic("unreachable")
	}
}
