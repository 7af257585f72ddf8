package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/testmain"
)

// orderVariable in the environment is how many bursts TestOrder sends in all. The
// daemon is built without the race detector then.
const orderVariable = "ORDER_BURSTS"

// orderBursts is the number of bursts without the variable: enough to catch a daemon whose order
// is random, for which a few at each gap are enough.
var orderBursts = testmain.Amount(336, 672)

// placement is where the daemon runs, and beside what.
type placement struct {
	processors int // that the daemon may use, and its GOMAXPROCS
	loops      int // processes that keep these processors busy
}

func (p placement) String() string {
	return fmt.Sprintf("%d processors, %d busy loops", p.processors, p.loops)
}

// placements are the surroundings in which order is compared.
var placements = []placement{{1, 0}, {2, 0}, {1, 1}, {2, 2}}

// burst is some messages that are sent without waiting for anything between them.
type burst struct {
	number uint64 // tells it from all other bursts of its test
	size   int
	gap    time.Duration // between two messages, spent in a loop

	random *rand.Rand
}

// gaps are the gaps of pairs; the longest bursts have none.
var gaps = []time.Duration{0, 0, 100 * time.Microsecond, 500 * time.Microsecond, 2 * time.Millisecond}

// newBurst makes the n-th burst along a way; longest is how many messages one may
// have. Bursts and pairs with each gap take turns.
func newBurst(number uint64, random *rand.Rand, n, longest int) *burst {
	b := &burst{number: number, size: 2, gap: gaps[n%len(gaps)], random: random}
	if n%len(gaps) == 0 {
		b.size = min(12, longest) + b.random.IntN(max(1, longest-11))
	}
	return b
}

// each does something for each message of the burst, with the gap between.
func (b *burst) each(do func(i int)) {
	for i := range b.size {
		if i > 0 {
			spin(b.gap)
		}
		do(i)
	}
}

// spin waits without giving the processor away: sleeping is not as exact.
func spin(gap time.Duration) {
	for begin := time.Now(); time.Since(begin) < gap; {
	}
}

// tag is the data of a message: its burst, and its place there.
func (b *burst) tag(i int) []byte {
	return []byte{byte(b.number >> 16), byte(b.number >> 8), byte(b.number), byte(i)}
}

// place is the inverse of tag. A message of another burst has no place: -1.
func (b *burst) place(data []byte) int {
	if len(data) < 4 || !slices.Equal(data[:3], b.tag(0)[:3]) {
		return -1
	}
	return int(data[3])
}

// sent is the order in which the messages of the burst are sent.
func (b *burst) sent() []int {
	order := make([]int, b.size)
	for i := range order {
		order[i] = i
	}
	return order
}

// shuffled is another order of the burst's messages.
func (b *burst) shuffled() []int { return b.random.Perm(b.size) }

// sighting is the order in which an observer saw the messages of a burst.
type sighting struct {
	observer   string
	want, seen []int
}

// way is a path of messages through the daemon.
type way struct {
	name    string
	longest int // messages in a burst
	send    func(t testing.TB, b *burst) []sighting
}

// TestOrder: messages that come in order are handled in order, on each way in and out.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, p := range placements {
		t.Run(p.String(), func(t *testing.T) {
			board := newOrderBoard(t, p)
			ways := board.ways()
			each := (orderBursts + len(placements)*len(ways) - 1) / (len(placements) * len(ways))
			for _, w := range ways {
				t.Run(w.name, func(t *testing.T) { board.compare(t, w, each) })
			}
		})
	}
}

// compare sends bursts along a way and fails the test for each observer that saw
// another order than there was. It shows the first example of each.
func (o *orderBoard) compare(t *testing.T, w way, bursts int) {
	type fault struct {
		count int
		first string
	}
	faults, random := make(map[string]*fault), chance(t)
	for n := range bursts {
		o.bursts++
		b := newBurst(o.bursts, random, n, w.longest)
		for _, s := range w.send(t, b) {
			if slices.Equal(s.seen, s.want) {
				continue
			}
			f := faults[s.observer]
			if f == nil {
				f = &fault{first: fmt.Sprintf("expected %v\n     saw %v\n(%d messages, gap %v)", s.want, s.seen, b.size, b.gap)}
				faults[s.observer] = f
			}
			f.count++
		}
	}
	for observer, f := range faults {
		t.Errorf("%s: %d of %d bursts in another order; %v; the first:\n%s", observer, f.count, bursts, o.placement, f.first)
	}
}

// startAt is start of a daemon that stays on its processors, with busy loops beside
// it that end with the test.
func (p placement) start(t testing.TB, address string, config object) *daemon {
	t.Helper()
	cmd := exec.Command("env", "GOMAXPROCS="+strconv.Itoa(p.processors),
		program, "--bus", address, "--config", configFile(t, config))
	var d *daemon
	p.pinned(t, func() { d = launchCommand(t, cmd) })
	d.ready(t)
	for range p.loops {
		p.pinned(t, func() { busyLoop(t) })
	}
	return d
}

// pinned does something on the first of this test's processors, as many as p has.
// Processes that it starts stay there.
func (p placement) pinned(t testing.TB, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, few unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; few.Count() < min(p.processors, before.Count()); cpu++ {
		if before.IsSet(cpu) {
			few.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			panic(err) // The thread must not be used any more.
		}
	}()
	do()
}

// busyLoop is a process that does nothing as fast as it can.
func busyLoop(t testing.TB) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// readOrderBursts reads orderVariable.
func readOrderBursts() error {
	text := os.Getenv(orderVariable)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: %q is no number of bursts", orderVariable, text)
	}
	orderBursts, race = n, false
	return nil
}
