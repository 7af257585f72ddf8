package host

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// btDriver blocks when poll has not said that it would not, as bt-bmc.c does: then the test fails.
type btDriver struct {
	*driver
	busy bool // H_BUSY or B2H_ATN
}

func (b *btDriver) asks(seq, netFnLUN, command byte, data ...byte) {
	b.sends(append([]byte{byte(3 + len(data)), netFnLUN, seq, command}, data...))
}

func (b *btDriver) isBusy(busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = busy
}

func (b *btDriver) poll(_ int, events int16, _ time.Duration) (ready int16, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits || b.failure != nil {
		ready |= unix.POLLIN
	}
	if !b.busy {
		ready |= unix.POLLOUT
	}
	return ready & events, nil
}

func (b *btDriver) read(fd int, to []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.take(fd, to)
	if err == unix.EAGAIN {
		b.t.Error("the read would block")
	}
	return n, err
}

func (b *btDriver) write(_ int, from []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failure != nil:
		return -1, b.failure
	case b.busy:
		b.t.Error("the write would block")
	case len(from) < 5:
		return -1, unix.EINVAL
	}
	b.answers <- bytes.Clone(from)
	return len(from), nil
}

func openBT(t *testing.T) (*BTPort, *btDriver) {
	t.Helper()
	p, b := open[*btDriver](t, media[1])
	return p.(*BTPort), b
}

func TestBTFraming(t *testing.T) {
	p, b := openBT(t)
	b.sends(octets("03 18 5A 01"))
	writes(t, p, answerTo(reads(t, p), 0, octets("50 01 04 00 02")...))
	if got := b.answered(); !bytes.Equal(got, octets("09 1C 5A 01 00 50 01 04 00 02")) {
		t.Errorf("answer % X", got)
	}
	b.sends(octets("05 B3 5B C0 11 22"))
	r := reads(t, p)
	if r.Tag != 0x5B || r.NetFn != 0x2C || r.LUN != 3 || r.Command != 0xC0 || !bytes.Equal(r.Data, octets("11 22")) {
		t.Errorf("got %+v", r)
	}
	writes(t, p, answerTo(r, ipmi.CodeInvalidCommand))
	if got := b.answered(); !bytes.Equal(got, octets("04 B7 5B C0 C1")) {
		t.Errorf("answer % X", got)
	}
}

func TestBTLongestMessages(t *testing.T) {
	p, b := openBT(t)
	b.asks(1, 0x18, 1, make([]byte, 252)...)
	r := reads(t, p)
	if len(r.Data) != 252 {
		t.Errorf("%d bytes of data, want 252", len(r.Data))
	}
	writes(t, p, answerTo(r, 0, make([]byte, 251)...))
	if got := b.answered(); len(got) != 256 || got[0] != 255 {
		t.Errorf("answer of %d bytes with length %d, want 256 with 255", len(got), got[0])
	}
}

func TestBTAnswersInAnyOrder(t *testing.T) {
	p, b := openBT(t)
	b.asks(1, 0x18, 1)
	first := reads(t, p)
	b.asks(2, 0x18, 2)
	second := reads(t, p)
	writes(t, p, answerTo(second, 0))
	writes(t, p, answerTo(first, 0))
	if got := b.answered(); !bytes.Equal(got, octets("04 1C 02 02 00")) {
		t.Errorf("answer % X", got)
	}
	if got := b.answered(); !bytes.Equal(got, octets("04 1C 01 01 00")) {
		t.Errorf("answer % X", got)
	}
}

func TestBTDropsWhatIsNoRequest(t *testing.T) {
	for name, message := range map[string][]byte{
		"a length of 0":    {},
		"length too small": octets("02 18 01 01"),
		"length too large": octets("04 18 01 01"),
		"no command":       octets("02 18 01"),
		"a response":       octets("04 1C 01 01 00"),
	} {
		t.Run(name, func(t *testing.T) {
			p, b := openBT(t)
			b.sends(message)
			go func() {
				<-b.taken
				b.asks(2, 0x18, 2)
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

func TestBTHostThatChangesItsMind(t *testing.T) {
	p, b := openBT(t)
	read, write := p.read, p.write
	reading, writing := 0, 0
	p.read = func(fd int, to []byte) (int, error) {
		if reading++; reading == 1 {
			b.wakeUp()
			return -1, unix.EIO
		}
		return read(fd, to)
	}
	p.write = func(fd int, from []byte) (int, error) {
		if writing++; writing < 3 {
			return -1, []error{unix.EIO, unix.EINTR}[writing-1]
		}
		return write(fd, from)
	}
	b.asks(1, 0x18, 1)
	writes(t, p, answerTo(reads(t, p), 0))
	if got := b.answered(); !bytes.Equal(got, octets("04 1C 01 01 00")) {
		t.Errorf("answer % X", got)
	}
}

func TestBTAnswerWaitsForTheHost(t *testing.T) {
	p, b := openBT(t)
	b.isBusy(true)
	looked := make(chan struct{}, 1)
	poll := p.poll
	p.poll = func(fd int, events int16, wait time.Duration) (int16, error) {
		select {
		case looked <- struct{}{}:
		default:
		}
		return poll(fd, events, wait)
	}
	written := make(chan error, 1)
	go func() { written <- write(p, Response{Tag: 1, NetFn: 7, Command: 1}) }()
	<-looked
	b.silent()
	b.isBusy(false)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := b.answered(); !bytes.Equal(got, octets("04 1C 01 01 00")) {
		t.Errorf("answer % X", got)
	}
}

func TestBTHostThatIsSwitchedOff(t *testing.T) {
	p, b := openBT(t)
	p.fetchTimeout = 0
	b.isBusy(true)
	writes(t, p, Response{Tag: 1, NetFn: 7, Command: 1})
	if n := counted(t, p, "answers-unfetched"); n != 1 {
		t.Errorf("counted %d", n)
	}
	b.isBusy(false)
	b.silent()
	writes(t, p, Response{Tag: 2, NetFn: 7, Command: 1})
	b.answered()
}

func TestBTCloseEndsAWriteThatWaits(t *testing.T) {
	p, b := openBT(t)
	p.fetchTimeout = time.Hour
	b.isBusy(true)
	written := make(chan error, 1)
	go func() { written <- write(p, Response{NetFn: 7}) }()
	p.Close()
	if err := <-written; err == nil {
		t.Error("no error")
	}
}

func TestBTAttention(t *testing.T) {
	p, b := openBT(t)
	for _, raised := range []bool{false, true, false} {
		if err := p.SetAttention(ipmi.Attention{Raised: raised}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.made(), []uintptr{chardev.Request(0xB1, 0)}; !slices.Equal(got, want) {
		t.Errorf("ioctls %#x, want %#x", got, want)
	}
}

func FuzzBTRequest(f *testing.F) {
	for _, seed := range []string{"03 18 5A 01", "05 B3 5B C0 11 22", "02 18 01", "04 1C 01 01 00", "00", "FF 18 01 01"} {
		f.Add(octets(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseBTRequest(b)
		if !ok {
			return
		}
		back := append([]byte{byte(3 + len(r.Data)), byte(r.NetFn)<<2 | byte(r.LUN), r.Tag, byte(r.Command)}, r.Data...)
		if r.NetFn.IsResponse() || !bytes.Equal(back, b) {
			t.Errorf("% X is %+v", b, r)
		}
	})
}
