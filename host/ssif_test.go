package host

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// ssifDriver takes an answer to the last request in its time, as ssif_bmc.c
// does.
type ssifDriver struct {
	*driver
	timed   bool // response_timer_inited
	sending bool // response_in_progress
}

// ssifBytes is a struct ipmi_ssif_msg, as long as it needs to be.
func ssifBytes(payload ...byte) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

func (s *ssifDriver) asks(_, netFnLUN, command byte, data ...byte) {
	s.hostSends(ssifBytes(append([]byte{netFnLUN, command}, data...)...))
}

// hostSends is one request, in the driver's form.
func (s *ssifDriver) hostSends(b []byte) {
	s.mu.Lock()
	s.timed, s.sending = true, false
	s.mu.Unlock()
	s.sends(b)
}

// expire is the end of the driver's time for an answer.
func (s *ssifDriver) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timed = false
}

func (s *ssifDriver) read(fd int, b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits && len(b) < min(len(s.request), 260) {
		return -1, unix.EINVAL
	}
	return s.take(fd, b)
}

func (s *ssifDriver) write(_ int, b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil:
		return -1, s.failure
	case len(b) < 4 || len(b) > 260:
		return -1, unix.EINVAL
	}
	length := binary.NativeEndian.Uint32(b)
	switch {
	case length == 0 || length > 254 || len(b) < 4+int(length):
		return -1, unix.EINVAL
	case s.sending:
		return -1, unix.EAGAIN
	case !s.timed:
		return -1, unix.EINVAL
	}
	s.timed, s.sending = false, true
	s.answers <- bytes.Clone(b)
	return len(b), nil
}

func openSSIF(t *testing.T) (*SSIFPort, *ssifDriver) {
	t.Helper()
	p, s := open[*ssifDriver](t, media[2])
	return p.(*SSIFPort), s
}

func TestSSIFFraming(t *testing.T) {
	p, s := openSSIF(t)
	s.hostSends(ssifBytes(octets("18 01")...))
	writes(t, p, answerTo(reads(t, p), 0, octets("50 01 04 00 02")...))
	if got := s.answered(); !bytes.Equal(got, ssifBytes(octets("1C 01 00 50 01 04 00 02")...)) {
		t.Errorf("answer % X", got)
	}
	// The padding is not data.
	s.hostSends(append(ssifBytes(octets("B3 C0 11 22")...), 9, 9, 9))
	r := reads(t, p)
	if r.NetFn != 0x2C || r.LUN != 3 || r.Command != 0xC0 || !bytes.Equal(r.Data, octets("11 22")) {
		t.Errorf("got %+v", r)
	}
	writes(t, p, answerTo(r, ipmi.CodeInvalidCommand))
	if got := s.answered(); !bytes.Equal(got, ssifBytes(octets("B7 C0 C1")...)) {
		t.Errorf("answer % X", got)
	}
}

func TestSSIFLongestMessages(t *testing.T) {
	p, s := openSSIF(t)
	s.asks(0, 0x18, 1, make([]byte, 252)...)
	r := reads(t, p)
	if len(r.Data) != 252 {
		t.Errorf("%d bytes of data, want 252", len(r.Data))
	}
	writes(t, p, answerTo(r, 0, make([]byte, 251)...))
	if got := s.answered(); len(got) != 258 || binary.NativeEndian.Uint32(got) != 254 {
		t.Errorf("answer of %d bytes, want 258", len(got))
	}
}

func TestSSIFDropsWhatIsNoRequest(t *testing.T) {
	for name, message := range map[string][]byte{
		"empty":            ssifBytes(),
		"no command":       ssifBytes(0x18),
		"a response":       ssifBytes(0x1C, 1, 0),
		"half a length":    octets("02 00"),
		"length too large": ssifBytes(0x18, 1, 0)[:6],
		"length of 255":    ssifBytes(append(octets("18 01"), make([]byte, 253)...)...),
		"length of 2^31":   append(binary.NativeEndian.AppendUint32(nil, 1<<31), 0x18, 1),
	} {
		t.Run(name, func(t *testing.T) {
			p, s := openSSIF(t)
			s.hostSends(message)
			go func() {
				<-s.taken
				s.asks(0, 0x18, 2)
			}()
			if r := reads(t, p); r.Command != 2 {
				t.Errorf("got %+v", r)
			}
			if n := counted(t, p, "requests-malformed"); n != 1 {
				t.Errorf("counted %d", n)
			}
		})
	}
}

func TestSSIFLateAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		then    func(t *testing.T, p *SSIFPort, s *ssifDriver, first Request)
		counter string
	}{
		{"after the driver's time", func(_ *testing.T, _ *SSIFPort, s *ssifDriver, _ Request) { s.expire() }, "answers-refused"},
		{"after the next request", func(_ *testing.T, _ *SSIFPort, s *ssifDriver, _ Request) { s.asks(0, 0x18, 2) }, "answers-superseded"},
		{"after the next request was read", func(t *testing.T, p *SSIFPort, s *ssifDriver, _ Request) {
			s.asks(0, 0x18, 2)
			reads(t, p)
		}, "answers-superseded"},
		{"after an answer", func(t *testing.T, p *SSIFPort, s *ssifDriver, first Request) {
			writes(t, p, answerTo(first, 0))
			s.answered()
		}, "answers-superseded"},
		{"while the host fetches another", func(_ *testing.T, _ *SSIFPort, s *ssifDriver, _ Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sending = true
		}, "answers-refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := openSSIF(t)
			s.asks(0, 0x18, 1)
			first := reads(t, p)
			c.then(t, p, s, first)
			writes(t, p, answerTo(first, 0, 0xEE))
			s.silent()
			if n := counted(t, p, c.counter); n != 1 {
				t.Errorf("%s: %d", c.counter, n)
			}
		})
	}
}

func TestSSIFHasNoAttention(t *testing.T) {
	p, s := openSSIF(t)
	if err := p.SetAttention(ipmi.Attention{Raised: true}); err != nil || len(s.made()) > 0 {
		t.Errorf("got %v, ioctls %#x", err, s.made())
	}
}

func FuzzSSIFRequest(f *testing.F) {
	for _, seed := range [][]byte{ssifBytes(0x18, 1), ssifBytes(), ssifBytes(0x1C, 1, 0), ssifBytes(0x18, 1, 0)[:6], {2, 0}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseSSIFRequest(7, b)
		if !ok {
			return
		}
		back := ssifBytes(append([]byte{byte(r.NetFn)<<2 | byte(r.LUN), byte(r.Command)}, r.Data...)...)
		if r.Tag != 7 || r.NetFn.IsResponse() || len(back) > 258 || !bytes.HasPrefix(b, back) {
			t.Errorf("% X is %+v", b, r)
		}
	})
}
