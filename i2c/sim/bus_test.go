package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// near and far are the addresses of the two ends of a test's bus.
const (
	near = 0x20
	far  = 0x2C
)

func attach(t testing.TB, b *Bus, addr uint8) i2c.Transport {
	t.Helper()
	s, err := b.Attach(addr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBusAddresses(t *testing.T) {
	b := NewBus()
	attach(t, b, near)
	for _, c := range []struct {
		name string
		addr uint8
	}{
		{"taken", near},
		{"general call", 0x00},
		{"read bit set", near | 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := b.Attach(c.addr); err == nil {
				t.Error("Attach: no error")
			}
			if err := b.Respond(c.addr, nil); err == nil {
				t.Error("Respond: no error")
			}
		})
	}
}

func TestBusNotAcknowledged(t *testing.T) {
	b := NewBus()
	s := attach(t, b, near)
	gone := attach(t, b, 0x30)
	gone.Close()
	for _, c := range []struct {
		name string
		addr uint8
	}{
		{"nobody there", far},
		{"read bit set", near | 1},
		{"own address", near},
		{"general call to nobody", 0x00},
		{"node that was closed", 0x30},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := s.WriteFrame(pattern(c.addr, 7)); !errors.Is(err, i2c.ErrNotAcknowledged) {
				t.Fatalf("got %v, want i2c.ErrNotAcknowledged", err)
			}
		})
	}
}

func TestBusAddressIsFreeAfterClose(t *testing.T) {
	b := NewBus()
	for range 2 {
		s := attach(t, b, near)
		s.Close()
		s.Close()
	}
	second := attach(t, b, near)
	first := attach(t, b, far)
	first.Close()
	write(t, attach(t, b, far), pattern(near, 7))
	equal(t, read(t, second, 1), [][]byte{pattern(near, 7)})
}

func TestBusCloseLeavesTheNextNodeAlone(t *testing.T) {
	b := NewBus()
	old := attach(t, b, far)
	old.Close()
	attach(t, b, far)
	old.Close()
	write(t, attach(t, b, near), pattern(far, 7))
}

func TestBusGeneralCall(t *testing.T) {
	b := NewBus()
	sender, first, second := attach(t, b, near), attach(t, b, far), attach(t, b, 0x30)
	var heard [][]byte
	err := b.Respond(0x40, func(frame []byte, _ func([]byte)) { heard = append(heard, slices.Clone(frame)) })
	if err != nil {
		t.Fatal(err)
	}
	call := [][]byte{pattern(0x00, 8)}
	write(t, sender, call[0])
	equal(t, read(t, first, 1), call)
	equal(t, read(t, second, 1), call)
	equal(t, heard, call)

	own := pattern(near, 7)
	write(t, first, own)
	equal(t, read(t, sender, 1), [][]byte{own})
}

func TestBusDropsTheNewestOfAFullQueue(t *testing.T) {
	b := NewBus()
	s, other := attach(t, b, near), attach(t, b, far)
	frames := numbered(near, queueLength+10)
	for _, frame := range frames {
		write(t, other, frame)
	}
	if n := counted(t, s, "dropped-queue-full"); n != 10 {
		t.Fatalf("counted %d, want 10", n)
	}
	equal(t, read(t, s, queueLength), frames[:queueLength])
}

func TestBusDeliversLongFramesInSeveralBatches(t *testing.T) {
	b := NewBus()
	s, other := attach(t, b, near), attach(t, b, far)
	var want [][]byte
	for range queueLength {
		want = append(want, pattern(near, maxFrame))
		write(t, other, want[0])
	}
	equal(t, read(t, s, queueLength), want)
}

func TestBusResponder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBus()
		s := attach(t, b, near)
		answer := pattern(near, 8)
		err := b.Respond(far, func(frame []byte, reply func([]byte)) {
			if !bytes.Equal(frame, pattern(far, 7)) {
				t.Errorf("got % X", frame)
			}
			reply(answer)
			reply(pattern(0x30, 9))
			reply(pattern(far, 10))
			time.AfterFunc(time.Second, func() { reply(answer) })
		})
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, pattern(far, 7))
		sent := time.Now()
		equal(t, read(t, s, 1), [][]byte{answer})
		if d := time.Since(sent); d != 0 {
			t.Fatalf("first answer after %v", d)
		}
		equal(t, read(t, s, 1), [][]byte{answer})
		if d := time.Since(sent); d != time.Second {
			t.Fatalf("second answer after %v", d)
		}
	})
}

func TestBusCloseEndsAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := attach(t, NewBus(), near)
		var err error
		go func() { err = s.ReadFrames(new(i2c.Batch)) }()
		synctest.Wait()
		s.Close()
		synctest.Wait()
		if !errors.Is(err, i2c.ErrClosed) {
			t.Fatalf("got %v, want i2c.ErrClosed", err)
		}
	})
}

func TestBusDoesNotAllocate(t *testing.T) {
	b := NewBus()
	s := attach(t, b, near)
	answer := pattern(near, 19)
	if err := b.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		t.Fatal(err)
	}
	var batch i2c.Batch
	request := pattern(far, 7)
	roundTrip(t, s, request, &batch)
	if n := testing.AllocsPerRun(100, func() { roundTrip(t, s, request, &batch) }); n != 0 {
		t.Fatalf("%v allocations for a round trip", n)
	}
}

// BenchmarkBus is a request, its answer by a function, and the read of it, all
// in one goroutine.
func BenchmarkBus(b *testing.B) {
	bus := NewBus()
	s := attach(b, bus, near)
	answer := pattern(near, 19)
	if err := bus.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		b.Fatal(err)
	}
	benchmarkRoundTrip(b, s)
}

// BenchmarkBusTwoGoroutines is BenchmarkBus with the read in another
// goroutine, as an engine has it.
func BenchmarkBusTwoGoroutines(b *testing.B) {
	bus := NewBus()
	s := attach(b, bus, near)
	answer := pattern(near, 19)
	if err := bus.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		b.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var batch i2c.Batch
		for s.ReadFrames(&batch) == nil {
			answered <- struct{}{}
		}
	}()
	request := pattern(far, 7)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.WriteFrame(request); err != nil {
			b.Fatal(err)
		}
		<-answered
	}
	s.Close()
	<-answered
}

func benchmarkRoundTrip(b *testing.B, s i2c.Transport) {
	var batch i2c.Batch
	request := pattern(far, 7)
	b.ReportAllocs()
	for b.Loop() {
		roundTrip(b, s, request, &batch)
	}
}

func roundTrip(t testing.TB, s i2c.Transport, request []byte, batch *i2c.Batch) {
	if err := s.WriteFrame(request); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadFrames(batch); err != nil {
		t.Fatal(err)
	}
}

// pattern is a frame of n bytes to an address.
func pattern(addr byte, n int) []byte {
	frame := make([]byte, n)
	for i := range frame {
		frame[i] = byte(i*7 + n)
	}
	frame[0] = addr
	return frame
}

// numbered are n frames to an address that tell their number.
func numbered(addr byte, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = fmt.Appendf([]byte{addr}, "frame %d", i)
	}
	return frames
}

func write(t testing.TB, to i2c.Transport, frame []byte) {
	t.Helper()
	if err := to.WriteFrame(frame); err != nil {
		t.Fatal(err)
	}
}

// read is n frames, copied, in as many reads as that takes.
func read(t testing.TB, from i2c.Transport, n int) [][]byte {
	t.Helper()
	var batch i2c.Batch
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
func counted(t testing.TB, of i2c.Transport, name string) uint64 {
	t.Helper()
	n, ok := of.(i2c.Counter).Counters()[name]
	if !ok {
		t.Fatalf("no counter %q", name)
	}
	return n
}
