package main

import (
	"encoding/json"
	"errors"
	"syscall"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// tooHot is an event of the Management Engine.
func tooHot(bus string, direction byte) ipmi.Event {
	return ipmi.Event{Interface: bus, Channel: 7, Generator: 0x702C, Message: [7]byte{4, 1, 0x30, direction | 1, 0x57, 0x60, 0x5F}}
}

func TestEventsAreALineEach(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.server.PlatformEvent(tooHot("me1", 0)) // before anybody hears
	w := r.begin(t, 1, "events")
	if w.notes[0] != "ipmbctl: showing platform events; Ctrl-C ends it" {
		t.Error(w.notes)
	}
	r.server.PlatformEvent(tooHot("bus0", 0x80))
	w.expect(t,
		"_  me1    <- 2Ch channel 7  temperature 30h: upper non-critical going high asserted, reading 60h, threshold 5Fh",
		"_  bus0   <- 2Ch channel 7  temperature 30h: upper non-critical going high deasserted, reading 60h, threshold 5Fh")
	w.stop()
	if code := <-w.ended; code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestEventsInJSON(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "events", "--json")
	r.server.PlatformEvent(tooHot("bus0", 0))
	w.expect(t, `{_,"kind":"event","bus":"bus0","channel":7,"from":44,"generator":28716,"sender":"2Ch channel 7","text":"temperature 30h: upper non-critical going high asserted, reading 60h, threshold 5Fh","revision":4,"sensorType":1,"sensorNumber":48,"asserted":true,"eventType":1,"data":[87,96,95]}`)
	if !json.Valid(w.lines.Bytes()) {
		t.Errorf("invalid: %s", w.lines.Text())
	}
}

func TestEventsGoOnAfterARestart(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "events")
	_ = r.server.Close()
	w.expect(t, "_  ipmbd has stopped")
	r.start(t)
	w.expect(t, "_  ipmbd has started")
	r.server.PlatformEvent(tooHot("bus0", 0))
	w.expect(t, "_  bus0   <- 2Ch channel 7  temperature 30h: upper non-critical going high asserted, reading 60h, threshold 5Fh")
}

func TestEventsFailWithTheMessageBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "events")
	r.bus.Stop()
	if code := <-w.ended; code != exitNotRunning {
		t.Errorf("code %d", code)
	}
}

// head reads a line and leaves.
func TestEventsEndWithTheirReader(t *testing.T) {
	a := &app{environment: environment{isTerminal: func(any) bool { return false }}, out: &output{w: failingWriter{syscall.EPIPE}}}
	if err := a.showPlatformEvent(tooHot("bus0", 0)); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("error = %v", err)
	}
}
