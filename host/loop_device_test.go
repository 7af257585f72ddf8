package host

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// host is the one at the other end of a device.
type host interface {
	fakeDriver
	answered() []byte
	silent()
	fails(error)
}

// slowCommand is answered when the test says so.
const slowCommand ipmi.Command = 0x51

// served is a loop on a device.
type served struct {
	medium
	host
	driver  *driver
	loop    *Loop
	began   chan struct{} // the slow command
	release chan struct{}
	ended   chan error
	stop    context.CancelFunc
}

// ServeIPMI answers with the command and the data.
func (s *served) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	answer := func() { reply.Answer(ipmi.Response{Data: append([]byte{byte(req.Command)}, req.Data...)}, nil) }
	if req.Command != slowCommand {
		answer()
		return
	}
	s.began <- struct{}{}
	go func() { <-s.release; answer() }()
}

// hurried is a Port with another deadline.
type hurried struct {
	Port
	deadline time.Duration
}

func (p hurried) Limits() Limits {
	limits := p.Port.Limits()
	limits.Deadline = p.deadline
	return limits
}

// onEachDevice runs a test with a loop on each medium.
func onEachDevice(t *testing.T, deadline time.Duration, test func(t *testing.T, s *served)) {
	for _, m := range media {
		t.Run(m.name, func(t *testing.T) {
			p, h := open[host](t, m)
			s := &served{medium: m, host: h, began: make(chan struct{}, 10), release: make(chan struct{}, 10), ended: make(chan error, 1)}
			s.driver = driverOf(h)
			s.loop = NewLoop(Config{Interface: m.name, Channel: 15, Handler: s})
			ctx, stop := context.WithCancel(t.Context())
			s.stop = stop
			go func() { s.ended <- s.loop.Run(ctx, hurried{p, deadline}) }()
			test(t, s)
			stop()
		})
	}
}

func driverOf(h host) *driver {
	switch h := h.(type) {
	case *kcsDriver:
		return h.driver
	case *btDriver:
		return h.driver
	case *ssifDriver:
		return h.driver
	}
	panic("unknown driver")
}

// answer returns the bytes written to the driver: the answer to a request of netFn App.
func (s *served) answer(seq byte, command ipmi.Command, code ipmi.CompletionCode, data ...byte) []byte {
	switch s.name {
	case "bt":
		return append([]byte{byte(4 + len(data)), 0x1C, seq, byte(command), byte(code)}, data...)
	case "ssif":
		return ssifBytes(append([]byte{0x1C, byte(command), byte(code)}, data...)...)
	}
	return append([]byte{0x1C, byte(command), byte(code)}, data...)
}

func (s *served) expect(t *testing.T, want []byte) {
	t.Helper()
	if got := s.answered(); !bytes.Equal(got, want) {
		t.Errorf("answer % X, want % X", got, want)
	}
}

func TestLoopOnADeviceAnswersEachRequestOnce(t *testing.T) {
	onEachDevice(t, time.Minute, func(t *testing.T, s *served) {
		for seq := range byte(20) {
			s.asks(seq, 0x18, 1, seq)
			s.expect(t, s.answer(seq, 1, 0, 1, seq))
		}
		s.stop()
		if err := <-s.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		s.silent()
	})
}

func TestLoopOnADeviceDropsLateAnswers(t *testing.T) {
	// The second request, which is not slow, must get its answer on a busy machine.
	onEachDevice(t, time.Second, func(t *testing.T, s *served) {
		s.asks(1, 0x18, byte(slowCommand))
		<-s.began
		s.expect(t, s.answer(1, slowCommand, ipmi.CodeTimeout))
		s.release <- struct{}{}
		s.asks(2, 0x18, 2)
		s.expect(t, s.answer(2, 2, 0, 2))
		s.stop()
		<-s.ended
		s.silent()
	})
}

// The host gives a request up and makes another of the same command: the response to the first
// must not reach the second, except where requests have numbers.
func TestLoopOnADeviceOfAHostThatStartsAnew(t *testing.T) {
	onEachDevice(t, time.Minute, func(t *testing.T, s *served) {
		s.asks(1, 0x18, byte(slowCommand), 0xAA)
		<-s.driver.taken
		<-s.began
		s.asks(2, 0x18, byte(slowCommand), 0xBB)
		<-s.driver.taken
		// The port has the lock that an answer needs until it knows of the request.
		s.release <- struct{}{}
		s.release <- struct{}{}
		if s.numbers {
			s.expect(t, s.answer(1, slowCommand, 0, byte(slowCommand), 0xAA))
		}
		s.expect(t, s.answer(2, slowCommand, 0, byte(slowCommand), 0xBB))
		s.asks(3, 0x18, 3)
		s.expect(t, s.answer(3, 3, 0, 3))
		s.stop()
		<-s.ended
		s.silent()
	})
}

func TestLoopOnADeviceEndsWithIt(t *testing.T) {
	onEachDevice(t, time.Minute, func(t *testing.T, s *served) {
		s.asks(1, 0x18, 1)
		s.answered()
		s.fails(unix.ENODEV)
		if err := <-s.ended; !errors.Is(err, unix.ENODEV) {
			t.Errorf("Run = %v", err)
		}
	})
}
