package dbusapi

import (
	"testing"

	dbusclient "ipmbd/dbusapi/client"
)

// openClient is a client of a message bus, until the test ends.
func openClient(t *testing.T, address string) *dbusclient.Client {
	t.Helper()
	c, err := dbusclient.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
