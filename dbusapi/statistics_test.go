package dbusapi

import "testing"

func TestOtherStatisticsAreShown(t *testing.T) {
	r := newRig(t, Config{Statistics: func() map[string]uint64 { return map[string]uint64{"frame-requests": 7} }})
	if got := r.server.Statistics(); got["frame-requests"] != 7 || len(got) < 2 {
		t.Errorf("%v", got)
	}
}
