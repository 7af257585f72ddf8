package sim

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
)

func TestFaultsValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		faulty []string // the subjects of the error, each on its line
	}{
		{"no faults", Faults{}, nil},
		{"some of each", Faults{
			Drop: 0.1, Duplicate: 0.1, Corrupt: 0.1, NotAcknowledge: 0.1, LoseArbitration: 0.1,
			Delay: 0.1, Reorder: 0.1, DelayMin: time.Millisecond, DelayMax: time.Second,
		}, nil},
		{"a certain fault", Faults{Drop: 1}, nil},
		{"ten tenths", Faults{Drop: 0.7, Duplicate: 0.1, Corrupt: 0.2}, nil},
		{"negative", Faults{Drop: -0.1}, []string{"Drop:"}},
		{"no number", Faults{Corrupt: math.NaN()}, []string{"Corrupt:"}},
		{"more than certain", Faults{NotAcknowledge: 1.5}, []string{"NotAcknowledge:", "add up to 1.5"}},
		{"too much together", Faults{Drop: 0.6, Duplicate: 0.6}, []string{"add up to 1.2"}},
		{"delay without a time", Faults{Delay: 0.1}, []string{"longest delay"}},
		{"reorder without a time", Faults{Reorder: 0.1}, []string{"longest delay"}},
		{"delay backwards", Faults{DelayMin: 2, DelayMax: 1}, []string{"from 2ns to 1ns"}},
		{"everything", Faults{Drop: 2, Duplicate: -2, Delay: 2, DelayMin: -1}, []string{
			"Drop:", "Duplicate:", "Delay:", "add up to 2", "from -1ns to 0s", "longest delay",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines []string
			if err := c.faults.Validate(); err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if !slices.EqualFunc(lines, c.faulty, strings.Contains) {
				t.Fatalf("got %q, want %q", lines, c.faulty)
			}
		})
	}
}

// injected is an injector on a node of a new bus, and the node at far.
func injected(t *testing.T, f Faults) (*Injector, i2c.Transport) {
	t.Helper()
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	b := NewBus()
	i, peer := Inject(attach(t, b, near), f), attach(t, b, far)
	t.Cleanup(func() {
		i.Close()
		peer.Close()
	})
	return i, peer
}

// arrived returns the frames that have arrived at a node, when all goroutines are at rest.
func arrived(t *testing.T, at i2c.Transport) [][]byte {
	t.Helper()
	synctest.Wait()
	s := at.(*station)
	s.mu.Lock()
	n := s.count
	s.mu.Unlock()
	return read(t, at, n)
}

func TestInjectorDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Drop: 1})
		write(t, i, pattern(far, 7))
		equal(t, arrived(t, peer), nil)
		faulted(t, i, "faults-dropped", 1)
	})
}

func TestInjectorDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Duplicate: 1})
		write(t, i, pattern(far, 7))
		equal(t, arrived(t, peer), [][]byte{pattern(far, 7), pattern(far, 7)})
		faulted(t, i, "faults-duplicated", 1)
	})
}

func TestInjectorCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Corrupt: 1})
		const rounds = 1000
		for range rounds {
			frame := pattern(far, 7)
			write(t, i, frame)
			equal(t, [][]byte{frame}, [][]byte{pattern(far, 7)})
			got := arrived(t, peer)
			if len(got) != 1 || len(got[0]) != len(frame) || differences(got[0], frame) != 1 || got[0][0] != far {
				t.Fatalf("got % X of % X", got, frame)
			}
		}
		faulted(t, i, "faults-corrupted", rounds)
	})
}

func differences(a, b []byte) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestInjectorRefusals(t *testing.T) {
	for _, c := range []struct {
		name, counter string
		faults        Faults
		want          error
	}{
		{"not acknowledged", "faults-not-acknowledged", Faults{NotAcknowledge: 1}, i2c.ErrNotAcknowledged},
		{"arbitration lost", "faults-arbitration-lost", Faults{LoseArbitration: 1}, i2c.ErrArbitrationLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, peer := injected(t, c.faults)
				if err := i.WriteFrame(pattern(far, 7)); !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				equal(t, arrived(t, peer), nil)
				faulted(t, i, c.counter, 1)
			})
		})
	}
}

func TestInjectorDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Delay: 1, DelayMin: time.Second, DelayMax: 3 * time.Second})
		start := time.Now()
		var shortest, longest time.Duration = time.Hour, 0
		for range 100 {
			frame := pattern(far, 7)
			write(t, i, frame)
			clear(frame)
			sent := time.Now()
			equal(t, arrived(t, peer), nil)
			equal(t, read(t, peer, 1), [][]byte{pattern(far, 7)})
			late := time.Since(sent)
			shortest, longest = min(shortest, late), max(longest, late)
		}
		if shortest < time.Second || shortest > 1200*time.Millisecond ||
			longest > 3*time.Second || longest < 2800*time.Millisecond {
			t.Fatalf("delays from %v to %v after %v", shortest, longest, time.Since(start))
		}
		faulted(t, i, "faults-delayed", 100)
	})
}

func TestInjectorReordersWithTheNextFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Reorder: 1, DelayMax: time.Second})
		frames := numbered(far, 4)
		write(t, i, frames[0])
		write(t, i, frames[1])
		i.faults.Reorder = 0
		write(t, i, frames[2])
		write(t, i, frames[3])
		equal(t, arrived(t, peer), [][]byte{frames[2], frames[0], frames[1], frames[3]})
		time.Sleep(2 * time.Second)
		equal(t, arrived(t, peer), nil)
		faulted(t, i, "faults-reordered", 2)
	})
}

func TestInjectorReordersWithoutANextFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Reorder: 1, DelayMax: time.Second})
		frames := numbered(far, 2)
		write(t, i, frames[0])
		sent := time.Now()
		equal(t, read(t, peer, 1), frames[:1])
		if late := time.Since(sent); late != time.Second {
			t.Fatalf("after %v", late)
		}
		i.faults.Reorder = 0
		write(t, i, frames[1])
		equal(t, arrived(t, peer), frames[1:])
		if len(i.held)+len(i.late) != 0 {
			t.Fatalf("%d held and %d late frames are left", len(i.held), len(i.late))
		}
	})
}

func TestInjectorCloseEndsLateFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, peer := injected(t, Faults{Delay: 0.5, Reorder: 0.5, DelayMin: time.Second, DelayMax: time.Minute})
		for range 100 {
			write(t, i, pattern(far, 7))
		}
		for range 2 {
			if err := i.Close(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		equal(t, arrived(t, peer), nil)
	})
}

func TestInjectorClosed(t *testing.T) {
	for _, f := range []Faults{
		{Drop: 1},
		{Delay: 1, DelayMax: 1},
		{Reorder: 1, DelayMax: 1},
		{NotAcknowledge: 1},
	} {
		i, _ := injected(t, f)
		i.Close()
		if err := i.WriteFrame(pattern(far, 7)); !errors.Is(err, i2c.ErrClosed) {
			t.Errorf("%+v: got %v, want ErrClosed", f, err)
		}
	}
}

// A late frame waits its turn while the transport is in a write, and Close
// waits for both.
func TestInjectorWritesOneFrameAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowTransport{took: time.Second}
		i := Inject(slow, Faults{Delay: 0.5, DelayMax: 5 * time.Second})
		for range 50 {
			write(t, i, pattern(far, 7))
		}
		i.Close()
		if slow.overlaps != 0 || slow.writes < 30 {
			t.Fatalf("%d of %d writes overlapped", slow.overlaps, slow.writes)
		}
	})
}

// slowTransport takes a time for each write and notices a second one.
type slowTransport struct {
	took             time.Duration
	writing          bool
	writes, overlaps int
}

func (s *slowTransport) WriteFrame([]byte) error {
	if s.writing {
		s.overlaps++
	}
	s.writing = true
	s.writes++
	time.Sleep(s.took)
	s.writing = false
	return nil
}

func (s *slowTransport) ReadFrames(*i2c.Batch) error { return i2c.ErrClosed }
func (s *slowTransport) Limits() i2c.Limits          { return i2c.Limits{MaxFrame: maxFrame} }
func (s *slowTransport) Close() error                { return nil }

func TestInjectorIsRepeatable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mixed := Faults{
			Seed: 7, Drop: 0.1, Duplicate: 0.1, Corrupt: 0.1, NotAcknowledge: 0.1, LoseArbitration: 0.1,
			Delay: 0.1, Reorder: 0.1, DelayMin: time.Millisecond, DelayMax: time.Second,
		}
		first, again := fates(t, mixed), fates(t, mixed)
		equal(t, again, first)
		mixed.Seed++
		if other := fates(t, mixed); slices.EqualFunc(other, first, slices.Equal) {
			t.Fatal("another seed had the same faults")
		}
	})
}

// fates returns the arrivals of 200 frames, and the errors of their writes.
func fates(t *testing.T, f Faults) [][]byte {
	t.Helper()
	i, peer := injected(t, f)
	defer i.Close()
	var all [][]byte
	for _, frame := range numbered(far, 200) {
		if err := i.WriteFrame(frame); err != nil {
			all = append(all, []byte(err.Error()))
		}
		time.Sleep(10 * time.Millisecond)
		all = append(all, arrived(t, peer)...)
	}
	return all
}

func TestInjectorKeepsToTheProbabilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Faults{
			Drop: 0.05, Duplicate: 0.05, Corrupt: 0.05, NotAcknowledge: 0.05, LoseArbitration: 0.05,
			Delay: 0.05, Reorder: 0.05, DelayMax: time.Millisecond,
		}
		i, peer := injected(t, f)
		const rounds = 20000
		for range rounds {
			_ = i.WriteFrame(pattern(far, 7))
			arrived(t, peer)
		}
		for name, n := range i.Counters() {
			if strings.HasPrefix(name, "faults-") && (n < 850 || n > 1150) {
				t.Errorf("%s: %d of %d, want about 1000", name, n, rounds)
			}
		}
	})
}

func TestInjectorCountsTheTransportsDropsToo(t *testing.T) {
	i, peer := injected(t, Faults{})
	for range queueLength + 3 {
		write(t, peer, pattern(near, 7))
	}
	if n := counted(t, i, "dropped-queue-full"); n != 3 {
		t.Fatalf("counted %d, want 3", n)
	}
}

func TestInjectorDropsWhatItCannotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, _ := injected(t, Faults{Delay: 1, DelayMax: time.Hour})
		for range maxLate + 5 {
			write(t, i, pattern(far, 1))
		}
		if late, dropped := counted(t, i, "faults-delayed"), counted(t, i, "faults-dropped"); late != maxLate || dropped != 5 {
			t.Fatalf("%d delayed and %d dropped", late, dropped)
		}
	})
}

// faulted checks that a fault was counted n times and the others not at all.
func faulted(t *testing.T, i *Injector, name string, n uint64) {
	t.Helper()
	for counter, got := range i.Counters() {
		want := uint64(0)
		if counter == name {
			want = n
		}
		if got != want {
			t.Errorf("%s: %d, want %d", counter, got, want)
		}
	}
}

func TestCopiesOfABus(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		want   time.Duration
	}{
		{"no faults", Faults{}, 0},
		{"faults that double", Faults{Duplicate: 0.1}, i2c.DefaultCopyTime},
		{"other faults", Faults{Drop: 0.1}, 0},
	} {
		node := attach(t, NewBus(), near)
		if got := node.Limits().Copies(); got != 0 {
			t.Errorf("%s: the bus: %v, want 0", c.name, got)
		}
		if got := Inject(node, c.faults).Limits().Copies(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
