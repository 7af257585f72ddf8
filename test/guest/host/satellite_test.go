package host

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

const (
	// satelliteAddress is where ipmitool's -t finds the satellite.
	satelliteAddress = 0x82
	// The satellite answers this command with its data.
	echoNetFn   ipmi.NetFn   = 0x30
	echoCommand ipmi.Command = 0x01
)

// satellite is a management controller on a simulated bus, a socket to which the
// daemon connects. It serves one connection at a time and any number in turn.
type satellite struct {
	path    string
	id      []byte // the answer to Get Device ID
	answers chan ipmb.Frame

	mu   sync.Mutex
	link i2c.Transport // nil while no daemon is connected
}

// newSatellite makes a satellite of a product.
func newSatellite(t *testing.T, product byte) *satellite {
	t.Helper()
	s := &satellite{
		path: filepath.Join(socketDir(t), "ipmb-0"),
		// IPMI v2.0, section 20.1: firmware 1.04, IPMI 2.0, makes events,
		// manufacturer 343, and the product.
		id:      []byte{0x50, 0x01, 0x01, 0x04, 0x02, 0x20, 0x57, 0x01, 0x00, product, 0x00},
		answers: make(chan ipmb.Frame, 16),
	}
	listener, err := sim.Listen(s.path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.accept(listener)
	}()
	t.Cleanup(func() {
		listener.Close()
		s.hangUp()
		<-done
	})
	return s
}

func (s *satellite) accept(listener *sim.Listener) {
	for {
		link, err := listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.link = link
		s.mu.Unlock()
		s.serve(link)
		s.hangUp()
	}
}

func (s *satellite) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		s.link.Close()
		s.link = nil
	}
}

func (s *satellite) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

// serve answers until the connection ends.
func (s *satellite) serve(link i2c.Transport) {
	var batch i2c.Batch
	for link.ReadFrames(&batch) == nil {
		for _, b := range batch.Frames() {
			f, err := ipmb.Decode(b)
			if err != nil || f.Destination != satelliteAddress {
				continue // No daemon is there.
			}
			if f.NetFn.IsResponse() {
				f.Data = slices.Clone(f.Data)
				s.answers <- f
				continue
			}
			_ = link.WriteFrame(s.answer(f).Append(nil)) // The next read says it, too.
		}
	}
}

func (s *satellite) answer(f ipmb.Frame) ipmb.Frame {
	switch {
	case f.NetFn == ipmi.NetFnApp && f.Command == ipmi.CommandGetDeviceID:
		return f.Response(ipmi.CodeOK, s.id)
	case f.NetFn == echoNetFn && f.Command == echoCommand:
		return f.Response(ipmi.CodeOK, f.Data)
	}
	return f.Response(ipmi.CodeInvalidCommand, nil)
}

// event sends an event of a sensor to the controller at 20h, and returns the completion code.
func (s *satellite) event(t *testing.T, sensor byte) ipmi.CompletionCode {
	t.Helper()
	// IPMI v2.0, section 29.3: revision 04h, a temperature sensor, upper critical
	// going high.
	return s.asks(t, ipmb.Frame{
		NetFn: ipmi.NetFnSensor, Sequence: sensor & 0x3F, Command: ipmi.CommandPlatformEvent,
		Data: []byte{0x04, 0x01, sensor, 0x01, 0x59, 0x60, 0x5F},
	}).Code
}

// asks sends a request to the controller at 20h and returns its answer.
func (s *satellite) asks(t *testing.T, request ipmb.Frame) ipmb.Frame {
	t.Helper()
	s.mu.Lock()
	link := s.link
	s.mu.Unlock()
	if link == nil {
		t.Fatal("nobody is connected to the satellite")
	}
	request.Destination, request.Source = ipmi.BMCAddress, satelliteAddress
	if err := link.WriteFrame(request.Append(nil)); err != nil {
		t.Fatal(err)
	}
	select {
	case answer := <-s.answers:
		return answer
	case <-time.After(timeLimit):
		t.Fatalf("the request was not answered in %v", timeLimit)
		panic("unreachable")
	}
}
