package record

import (
	"math"
	"time"
)

// Time is a time in a log: seconds since 1970, or since the controller's start
// before it knew the time (IPMI v2.0, section 37).
type Time uint32

const (
	// NoTime is an unknown time.
	NoTime Time = math.MaxUint32
	// firstAbsolute: what is below counts from the start.
	firstAbsolute Time = 0x2000_0000
)

// TimeOf is a time in a log, in seconds.
func TimeOf(t time.Time) Time { return Time(t.Unix()) }

// UTC is the time; ok is false where there is none, or one since start only.
func (t Time) UTC() (at time.Time, ok bool) {
	if t < firstAbsolute || t == NoTime {
		return time.Time{}, false
	}
	return time.Unix(int64(t), 0).UTC(), true
}

// String is the time in UTC: "2000-01-01 00:00:00Z", "1m5s since start" or "no
// time".
func (t Time) String() string {
	if t == NoTime {
		return "no time"
	}
	if at, ok := t.UTC(); ok {
		return at.Format("2006-01-02 15:04:05Z")
	}
	return (time.Duration(t) * time.Second).String() + " since start"
}
