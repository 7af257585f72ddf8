package host

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/ipmi"
)

// kcsDriver takes one write for each read, as kcs_bmc_cdev_ipmi.c does.
type kcsDriver struct {
	*driver
	waitsForWrite bool // phase WAIT_READ
}

func (k *kcsDriver) asks(_, netFnLUN, command byte, data ...byte) {
	k.startsAnew()
	k.sends(append([]byte{netFnLUN, command}, data...))
}

// startsAnew is the host's WRITE_START.
func (k *kcsDriver) startsAnew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waits, k.waitsForWrite = false, false
}

func (k *kcsDriver) read(fd int, b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waits && len(b) < len(k.request) {
		k.waits = false
		return -1, unix.EOVERFLOW
	}
	n, err := k.take(fd, b)
	k.waitsForWrite = k.waitsForWrite || err == nil
	return n, err
}

func (k *kcsDriver) write(_ int, b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.failure != nil:
		return -1, k.failure
	case len(b) < 3 || len(b) > 1000 || !k.waitsForWrite:
		return -1, unix.EINVAL
	}
	k.waitsForWrite = false
	k.answers <- bytes.Clone(b)
	return len(b), nil
}

func openKCS(t *testing.T) (*KCSPort, *kcsDriver) {
	t.Helper()
	p, k := open[*kcsDriver](t, media[0])
	return p.(*KCSPort), k
}

func TestKCSFraming(t *testing.T) {
	p, k := openKCS(t)
	k.sends(octets("18 01"))
	r := reads(t, p)
	writes(t, p, answerTo(r, 0, octets("50 01 04 00 02")...))
	if got := k.answered(); !bytes.Equal(got, octets("1C 01 00 50 01 04 00 02")) {
		t.Errorf("answer % X", got)
	}
	k.startsAnew()
	k.sends(octets("B3 C0 11 22"))
	r = reads(t, p)
	if r.NetFn != 0x2C || r.LUN != 3 || r.Command != 0xC0 || !bytes.Equal(r.Data, octets("11 22")) {
		t.Errorf("got %+v", r)
	}
	writes(t, p, answerTo(r, ipmi.CodeInvalidCommand))
	if got := k.answered(); !bytes.Equal(got, octets("B7 C0 C1")) {
		t.Errorf("answer % X", got)
	}
}

func TestKCSLongestMessages(t *testing.T) {
	p, k := openKCS(t)
	long := append(octets("18 01"), bytes.Repeat([]byte{5}, 998)...)
	k.sends(long)
	r := reads(t, p)
	if !bytes.Equal(r.Data, long[2:]) {
		t.Errorf("%d bytes of data, want 998", len(r.Data))
	}
	writes(t, p, answerTo(r, 0, long[3:]...))
	if got := k.answered(); len(got) != 1000 {
		t.Errorf("answer of %d bytes, want 1000", len(got))
	}
}

// The host would wait for 5 s.
func TestKCSAbortsWhatIsNoRequest(t *testing.T) {
	for name, text := range map[string]string{"one byte": "18", "a response": "1C 01 00"} {
		t.Run(name, func(t *testing.T) {
			p, k := openKCS(t)
			k.sends(octets(text))
			go func() {
				<-k.taken
				k.asks(0, 0x18, 2)
			}()
			if r := reads(t, p); r.Command != 2 {
				t.Errorf("got %+v", r)
			}
			if got, want := k.made(), []uintptr{chardev.Request(0xB1, 2)}; !slices.Equal(got, want) {
				t.Errorf("ioctls %#x, want %#x", got, want)
			}
			if n := counted(t, p, "requests-malformed"); n != 1 {
				t.Errorf("counted %d", n)
			}
		})
	}
}

func TestKCSAbortThatFailsEndsThePort(t *testing.T) {
	p, k := openKCS(t)
	p.ioctl = func(int, uintptr) error { return unix.ENODEV }
	k.sends(octets("18"))
	if _, err := p.Read(); !errors.Is(err, unix.ENODEV) {
		t.Errorf("got %v", err)
	}
}

func TestKCSRequestThatDoesNotFitIsCounted(t *testing.T) {
	p, k := openKCS(t)
	k.sends(make([]byte, 1001))
	read := p.read
	p.read = func(fd int, b []byte) (int, error) {
		n, err := read(fd, b)
		if err == unix.EOVERFLOW {
			k.sends(octets("18 02"))
		}
		return n, err
	}
	if r := reads(t, p); r.Command != 2 {
		t.Errorf("got %+v", r)
	}
	if n := counted(t, p, "requests-malformed"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestKCSHostThatStartsAnew(t *testing.T) {
	for _, c := range []struct {
		name    string
		then    func(t *testing.T, p *KCSPort, k *kcsDriver)
		counter string
	}{
		{"and has not written yet", func(_ *testing.T, _ *KCSPort, k *kcsDriver) { k.startsAnew() }, "answers-refused"},
		{"and whose request was not read yet", func(_ *testing.T, _ *KCSPort, k *kcsDriver) { k.asks(0, 0x18, 2) }, "answers-refused"},
		{"and whose request was read", func(t *testing.T, p *KCSPort, k *kcsDriver) {
			k.asks(0, 0x18, 2)
			reads(t, p)
		}, "answers-superseded"},
		{"after we showed it an error", func(t *testing.T, p *KCSPort, _ *kcsDriver) {
			if err := p.ForceAbort(); err != nil {
				t.Fatal(err)
			}
		}, "answers-superseded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, k := openKCS(t)
			k.asks(0, 0x18, 1)
			first := reads(t, p)
			c.then(t, p, k)
			writes(t, p, answerTo(first, 0))
			k.silent()
			if n := counted(t, p, c.counter); n != 1 {
				t.Errorf("%s: %d", c.counter, n)
			}
		})
	}
}

func TestKCSOneWriteForEachRead(t *testing.T) {
	p, k := openKCS(t)
	k.asks(0, 0x18, 1)
	r := reads(t, p)
	writes(t, p, answerTo(r, 0, 1))
	writes(t, p, answerTo(r, 0, 2))
	if got := k.answered(); !bytes.Equal(got, octets("1C 01 00 01")) {
		t.Errorf("answer % X", got)
	}
	k.silent()
}

func TestKCSRequestsOfTheDriver(t *testing.T) {
	p, k := openKCS(t)
	for name, step := range map[string]struct {
		do     func() error
		number uint8
	}{
		"attention":    {func() error { return p.SetAttention(ipmi.Attention{Raised: true}) }, 0},
		"no attention": {func() error { return p.SetAttention(ipmi.Attention{}) }, 1},
		"abort":        {p.ForceAbort, 2},
	} {
		before := len(k.made())
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, want := k.made()[before:], []uintptr{chardev.Request(0xB1, step.number)}; !slices.Equal(got, want) {
			t.Errorf("%s: ioctls %#x, want %#x", name, got, want)
		}
	}
	k.fails(unix.ENODEV)
	if err := p.SetAttention(ipmi.Attention{}); err == nil || err.Error() != "clear SMS_ATN on /dev/ipmi-host: no such device" {
		t.Errorf("got %v", err)
	}
	p.Close()
	if err := p.ForceAbort(); err != os.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzKCSRequest(f *testing.F) {
	for _, seed := range []string{"18 01", "18", "1C 01 00", "B3 C0 11 22"} {
		f.Add(octets(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseKCSRequest(7, b)
		if !ok {
			return
		}
		back := append([]byte{byte(r.NetFn)<<2 | byte(r.LUN), byte(r.Command)}, r.Data...)
		if r.Tag != 7 || r.NetFn.IsResponse() || !bytes.Equal(back, b) {
			t.Errorf("% X is %+v", b, r)
		}
	})
}
