// Package await waits in tests for what happens in other processes or goroutines.
package await

import (
	"testing"
	"time"
)

// pollTime is how often Until looks.
const pollTime = 5 * time.Millisecond

// Until waits for something to become true, and fails the test if it does not in
// time; what says in the error what that is.
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
