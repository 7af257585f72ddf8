package i2c

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// near and far are the addresses of the two ends of a test's bus.
const (
	near = 0x20
	far  = 0x2C
)

// bus is a transport and its other end.
type bus struct {
	Transport
	// queue puts frames where the transport reads them, the first to be
	// delivered first.
	queue func(t *testing.T, frames ...[]byte)
	// sent are the next n frames that the transport wrote.
	sent func(t *testing.T, n int) [][]byte
	// least is the length of the shortest frame it carries, 0 for any.
	least int
}

// buses are all transports, and how a test gets one. TestMain adds the ones of i2c/sim.
var buses = []struct {
	name string
	open func(t *testing.T) bus
}{
	{"seqpacket, the end that connects", func(t *testing.T) bus {
		connected, accepted := seqpacketPair(t)
		return overTransport(connected, accepted)
	}},
	{"seqpacket, the end that accepts", func(t *testing.T) bus {
		connected, accepted := seqpacketPair(t)
		return overTransport(accepted, connected)
	}},
	{"ipmb-dev", framings[0].openBus},
	{"ipmb-device", framings[1].openBus},
	{"slave-mqueue", openMqueueBus},
}

func eachBus(t *testing.T, test func(t *testing.T, b bus)) {
	for _, c := range buses {
		t.Run(c.name, func(t *testing.T) {
			b := c.open(t)
			t.Cleanup(func() { b.Close() })
			test(t, b)
		})
	}
}

// overTransport is a bus whose other end is a transport, too.
func overTransport(this, other Transport) bus {
	return bus{
		Transport: this,
		queue: func(t *testing.T, frames ...[]byte) {
			t.Helper()
			for _, frame := range frames {
				write(t, other, frame)
			}
		},
		sent: func(t *testing.T, n int) [][]byte {
			t.Helper()
			return read(t, other, n)
		},
	}
}

func TestFramesComeInOrder(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		want := numbered(near, 3)
		b.queue(t, want...)
		equal(t, read(t, b, 3), want)
	})
}

func TestFramesGoInOrder(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		want := numbered(far, 3)
		for _, frame := range want {
			write(t, b, frame)
		}
		equal(t, b.sent(t, 3), want)
	})
}

func TestFramesOfEveryLengthPass(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		for n := max(1, b.least); n <= b.Limits().MaxFrame; n++ {
			out, in := pattern(far, n), pattern(near, n)
			write(t, b, out)
			equal(t, b.sent(t, 1), [][]byte{out})
			b.queue(t, in)
			equal(t, read(t, b, 1), [][]byte{in})
		}
	})
}

func TestFramesThatAreNeverSent(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		for _, c := range []struct {
			name  string
			frame []byte
			want  error
		}{
			{"one byte too long", pattern(far, b.Limits().MaxFrame+1), ErrTooLong},
			{"far too long", pattern(far, 70000), ErrTooLong},
			{"empty", []byte{}, errEmpty},
			{"nil", nil, errEmpty},
		} {
			if err := b.WriteFrame(c.frame); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			}
		}
		last := pattern(far, 7)
		write(t, b, last)
		equal(t, b.sent(t, 1), [][]byte{last})
	})
}

func TestFrameIsNotKept(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		frame := pattern(far, 20)
		want := slices.Clone(frame)
		write(t, b, frame)
		clear(frame)
		equal(t, b.sent(t, 1), [][]byte{want})
	})
}

func TestReadTakesAFullQueueAtOnce(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		want := numbered(near, MaxBatch)
		b.queue(t, want...)
		var batch Batch
		if err := b.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
		equal(t, batch.Frames(), want)
	})
}

func TestReadEmptiesTheBatchFirst(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		var batch Batch
		for _, frame := range numbered(near, 3) {
			b.queue(t, frame)
			if err := b.ReadFrames(&batch); err != nil {
				t.Fatal(err)
			}
			equal(t, batch.Frames(), [][]byte{frame})
		}
	})
}

func TestCloseEndsABlockedRead(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		ended := make(chan error)
		started := make(chan struct{})
		go func() {
			close(started)
			ended <- b.ReadFrames(new(Batch))
		}()
		<-started
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v, want ErrClosed", err)
		}
	})
}

func TestClosedTransport(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		b.queue(t, pattern(near, 7))
		for range 2 {
			if err := b.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
		}
		for range 2 {
			if err := b.ReadFrames(new(Batch)); !errors.Is(err, ErrClosed) {
				t.Fatalf("ReadFrames: got %v, want ErrClosed", err)
			}
			if err := b.WriteFrame(pattern(far, 7)); !errors.Is(err, ErrClosed) {
				t.Fatalf("WriteFrame: got %v, want ErrClosed", err)
			}
		}
	})
}

func TestReadAndWriteAtOnce(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus) {
		const rounds = 200 // fewer than a queue holds
		ended := make(chan error)
		go func() {
			var batch Batch
			for got := 0; got < rounds; got += len(batch.Frames()) {
				if err := b.ReadFrames(&batch); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		for n := range rounds {
			b.queue(t, pattern(near, 3+n%100))
			out := pattern(far, 3+n%200)
			write(t, b, out)
			equal(t, b.sent(t, 1), [][]byte{out})
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// pattern is a frame of n bytes to an address. Neighbouring bytes differ, except for the header
// checksum.
func pattern(addr byte, n int) []byte {
	frame := make([]byte, n)
	for i := range frame {
		frame[i] = byte(i*7 + n)
	}
	frame[0] = addr
	return withHeader(frame)
}

// numbered are n frames to an address that tell their number.
func numbered(addr byte, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = withHeader(fmt.Appendf([]byte{addr}, "frame %d", i))
	}
	return frames
}

// withHeader puts the header checksum into a frame that is long enough.
func withHeader(frame []byte) []byte {
	if len(frame) > 2 {
		frame[2] = -(frame[0] + frame[1])
	}
	return frame
}

func write(t testing.TB, to Transport, frame []byte) {
	t.Helper()
	if err := to.WriteFrame(frame); err != nil {
		t.Fatal(err)
	}
}

// read is n frames, copied, in as many reads as that takes.
func read(t testing.TB, from Transport, n int) [][]byte {
	t.Helper()
	var batch Batch
	var frames [][]byte
	for len(frames) < n {
		if err := from.ReadFrames(&batch); err != nil {
			t.Fatal(err)
		}
		for _, frame := range batch.Frames() {
			frames = append(frames, slices.Clone(frame))
		}
	}
	return frames
}

func equal(t testing.TB, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("got %d frames\n% X\nwant %d\n% X", len(got), got, len(want), want)
	}
}

// counted is one of a transport's counters, which must exist.
func counted(t testing.TB, of Transport, name string) uint64 {
	t.Helper()
	n, ok := of.(Counter).Counters()[name]
	if !ok {
		t.Fatalf("no counter %q", name)
	}
	return n
}

func TestCopies(t *testing.T) {
	socket := Limits{CopyTime: NoCopies}
	for _, c := range []struct {
		name   string
		limits Limits
		want   time.Duration
	}{
		{"by default as on I2C", Limits{}, 40 * time.Millisecond},
		{"as the transport says", Limits{CopyTime: time.Second}, time.Second},
		{"never", socket, 0},
	} {
		if got := c.limits.Copies(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWatchSeesANodeCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipmb-4")
	watch, err := OpenWatch(path, Look(path))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
