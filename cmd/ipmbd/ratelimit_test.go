package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// logged returns the entries of a logger, as text.
type logged struct{ *observer.ObservedLogs }

func limitedLogger() (*zap.Logger, logged) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(newRateLimitCore(core)), logged{logs}
}

// take returns the lines since the last call.
func (l logged) take() (lines []string) {
	for _, e := range l.TakeAll() {
		lines = append(lines, fmt.Sprint(e.Message, e.ContextMap()))
	}
	return lines
}

func (l logged) are(t *testing.T, want ...string) {
	t.Helper()
	if got := l.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// A bus that fails a thousand times in three seconds is four lines.
func TestStormOfABus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := limitedLogger()
		bus := log.With(zap.String("bus", "bus5"))
		for i := range 1000 {
			bus.Warn("request not served", zap.Int("n", i))
			time.Sleep(3 * time.Millisecond)
		}
		synctest.Wait()
		lines.are(t, "request not servedmap[bus:bus5 n:0]",
			"request not servedmap[bus:bus5 n:333 repeated:333]",
			"request not servedmap[bus:bus5 n:666 repeated:333]",
			"request not servedmap[bus:bus5 n:999 repeated:333]")
		time.Sleep(2 * limitInterval)
		bus.Warn("request not served", zap.Int("n", 1000))
		lines.are(t, "request not servedmap[bus:bus5 n:1000]")
		time.Sleep(2 * limitInterval)
	})
}

func TestWhatIsNotTheSameIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := limitedLogger()
		for range 2 {
			log.Info("stopping") // of no bus
			log.Debug("request served", zap.String("bus", "bus5"))
		}
		for _, bus := range []string{"bus5", "bus6"} {
			log.Warn("late", zap.String("bus", bus))
			log.Warn("lost", zap.String("bus", bus))
		}
		if got := lines.take(); len(got) != 8 {
			t.Errorf("logged %q", got)
		}
		time.Sleep(2 * limitInterval)
		lines.are(t)
	})
}

// The log ends with the state that the bus has.
func TestBusThatFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := limitedLogger()
		begin := time.Now()
		for _, change := range []struct {
			at    time.Duration
			state string
		}{
			{0, "Down"}, {100, "Up"}, {200, "Degraded"}, {300, "Down"}, {400, "Up"}, {1050, "Down"}, {1080, "Up"}, {1090, "Down"}, {1100, "Up"},
		} {
			time.Sleep(time.Until(begin.Add(change.at * time.Millisecond)))
			log.Info("bus state", zap.String("bus", "bus5"), zap.String("state", change.state))
		}
		time.Sleep(4 * limitInterval)
		lines.are(t,
			"bus statemap[bus:bus5 state:Down]", "bus statemap[bus:bus5 state:Up]", "bus statemap[bus:bus5 state:Degraded]",
			"bus statemap[bus:bus5 repeated:2 state:Up]",
			"bus statemap[bus:bus5 repeated:4 state:Up]")
	})
}

func TestWhatIsHeldBackIsWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := limitedLogger()
		for i := range 3 {
			log.Warn("late", zap.String("host", "kcs3"), zap.Int("n", i))
		}
		if err := log.Sync(); err != nil {
			t.Error(err)
		}
		lines.are(t, "latemap[host:kcs3 n:0]", "latemap[host:kcs3 n:2 repeated:2]")
		time.Sleep(2 * limitInterval)
		lines.are(t)
	})
}
