package inside

import (
	"sync"
	"testing"

	"ipmbd/dbusapi/client"
)

// Another program deletes the device while the daemon has it open and uses it. The
// daemon closes it and opens the next one. Kernels use freed memory then
// (ipmb_dev_int.c keeps its state only as long as the device), so this test is
// run last, in a guest of its own.
func TestStrangerDeletesTheDevice(t *testing.T) {
	l := newLoop(t)
	a, b := pair(t, l, ipmbDev, 1)

	var callers sync.WaitGroup
	defer callers.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for _, d := range []*daemon{a, b} {
		callers.Go(func() {
			for i := uint32(0); !closed(stop); i++ {
				_ = d.echoes(t, i) // Each call ends, somehow.
			}
		})
	}

	for range 3 {
		l.remove(t, 0, bmcAddress)
		a.tells(t, "not up: bus "+string(client.Down))
		l.create(t, 0, ipmbDev.name, bmcAddress)
		a.tells(t, "1 bus up")
	}
	for _, d := range []*daemon{a, b} {
		eventually(t, func() string {
			if err := d.echoes(t, 0); err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
