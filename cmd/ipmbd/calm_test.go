package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// logged is what a logger writes, as text.
type logged struct{ *observer.ObservedLogs }

func calmLogger() (*zap.Logger, logged) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(newCalmCore(core)), logged{logs}
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
		log, lines := calmLogger()
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
		time.Sleep(2 * calmTime)
		bus.Warn("request not served", zap.Int("n", 1000))
		lines.are(t, "request not servedmap[bus:bus5 n:1000]")
		time.Sleep(2 * calmTime)
	})
}

func TestWhatIsNotTheSameIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := calmLogger()
		for range 2 {
			log.Info("stopping") // of no bus
			log.Debug("request served", zap.String("bus", "bus5"))
		}
		if got := lines.take(); len(got) != 4 {
			t.Errorf("logged %q", got)
		}
		for _, bus := range []string{"bus5", "bus6"} {
			for _, state := range []string{"Down", "Up", "Down", "Up"} {
				log.Info("bus state", zap.String("bus", bus), zap.String("state", state))
			}
		}
		lines.are(t, "bus statemap[bus:bus5 state:Down]", "bus statemap[bus:bus5 state:Up]",
			"bus statemap[bus:bus6 state:Down]", "bus statemap[bus:bus6 state:Up]")
		time.Sleep(2 * calmTime)
		if got := lines.take(); len(got) != 4 {
			t.Errorf("logged later: %q", got)
		}
	})
}

func TestWhatIsHeldBackIsWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := calmLogger()
		for i := range 3 {
			log.Warn("late", zap.String("host", "kcs3"), zap.Int("n", i))
		}
		if err := log.Sync(); err != nil {
			t.Error(err)
		}
		lines.are(t, "latemap[host:kcs3 n:0]", "latemap[host:kcs3 n:2 repeated:2]")
		time.Sleep(2 * calmTime)
		lines.are(t)
	})
}
