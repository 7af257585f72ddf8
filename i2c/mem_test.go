package i2c

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func openMem(t *testing.T) bus {
	t.Helper()
	b := NewBus()
	this, other := attach(t, b, near), attach(t, b, far)
	t.Cleanup(func() { other.Close() })
	return overTransport(this, other)
}

func attach(t testing.TB, b *Bus, addr uint8) Transport {
	t.Helper()
	s, err := b.Attach(addr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMemAddresses(t *testing.T) {
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

func TestMemNotAcknowledged(t *testing.T) {
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
			if err := s.WriteFrame(pattern(c.addr, 7)); !errors.Is(err, ErrNotAcknowledged) {
				t.Fatalf("got %v, want ErrNotAcknowledged", err)
			}
		})
	}
}

func TestMemAddressIsFreeAfterClose(t *testing.T) {
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

func TestMemCloseLeavesTheNextNodeAlone(t *testing.T) {
	b := NewBus()
	old := attach(t, b, far)
	old.Close()
	attach(t, b, far)
	old.Close()
	write(t, attach(t, b, near), pattern(far, 7))
}

func TestMemGeneralCall(t *testing.T) {
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

func TestMemDropsTheNewestOfAFullQueue(t *testing.T) {
	b := NewBus()
	s, other := attach(t, b, near), attach(t, b, far)
	frames := numbered(near, memQueue+10)
	for _, frame := range frames {
		write(t, other, frame)
	}
	if n := counted(t, s, "dropped-queue-full"); n != 10 {
		t.Fatalf("counted %d, want 10", n)
	}
	equal(t, read(t, s, memQueue), frames[:memQueue])
}

func TestMemDeliversLongFramesInSeveralBatches(t *testing.T) {
	b := NewBus()
	s, other := attach(t, b, near), attach(t, b, far)
	var want [][]byte
	for range memQueue {
		want = append(want, pattern(near, memMaxFrame))
		write(t, other, want[0])
	}
	equal(t, read(t, s, memQueue), want)
}

func TestMemResponder(t *testing.T) {
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

func TestMemCloseEndsAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := attach(t, NewBus(), near)
		var err error
		go func() { err = s.ReadFrames(new(Batch)) }()
		synctest.Wait()
		s.Close()
		synctest.Wait()
		if !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v, want ErrClosed", err)
		}
	})
}

func TestMemDoesNotAllocate(t *testing.T) {
	b := NewBus()
	s := attach(t, b, near)
	answer := pattern(near, 19)
	if err := b.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		t.Fatal(err)
	}
	var batch Batch
	request := pattern(far, 7)
	roundTrip(t, s, request, &batch)
	if n := testing.AllocsPerRun(100, func() { roundTrip(t, s, request, &batch) }); n != 0 {
		t.Fatalf("%v allocations for a round trip", n)
	}
}

// BenchmarkMem is a request, its answer by a function, and the read of it, all
// in one goroutine.
func BenchmarkMem(b *testing.B) {
	bus := NewBus()
	s := attach(b, bus, near)
	answer := pattern(near, 19)
	if err := bus.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		b.Fatal(err)
	}
	benchmarkRoundTrip(b, s)
}

// BenchmarkMemTwoGoroutines is BenchmarkMem with the read in another
// goroutine, as an engine has it.
func BenchmarkMemTwoGoroutines(b *testing.B) {
	bus := NewBus()
	s := attach(b, bus, near)
	answer := pattern(near, 19)
	if err := bus.Respond(far, func(_ []byte, reply func([]byte)) { reply(answer) }); err != nil {
		b.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var batch Batch
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

func benchmarkRoundTrip(b *testing.B, s Transport) {
	var batch Batch
	request := pattern(far, 7)
	b.ReportAllocs()
	for b.Loop() {
		roundTrip(b, s, request, &batch)
	}
}

func roundTrip(t testing.TB, s Transport, request []byte, batch *Batch) {
	if err := s.WriteFrame(request); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadFrames(batch); err != nil {
		t.Fatal(err)
	}
}
