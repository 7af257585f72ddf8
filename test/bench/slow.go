package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// slowWrite is about the time that a frame takes on a wire of 100 kHz: the driver's write
	// returns when the frame is sent.
	slowWrite = 2 * time.Millisecond
	// slowData is the length of the data of requests to a slow bus, by which bench recognizes
	// their writes. Nothing else that ipmbd writes is as long as their frames.
	slowData  = 40
	slowFrame = 7 + slowData
	// slowShare is in flight on each slow bus, enough for a write to follow another.
	slowShare = 8
)

// brake makes writes of a process slow: seccomp keeps each write of a certain length in the
// kernel, with its thread, until slowWrite has passed, and lets it go on then
// (seccomp_unotify(2)). So the process has a driver's slow writes on a socket, and does nothing
// for that itself.
type brake struct {
	fd      int // where the kernel tells of writes
	held    atomic.Int64
	release chan struct{} // closed when the process has ended
	done    chan struct{}
}

var errNoBrake = errors.New("writes cannot be held here")

// startBraked starts a process with a brake, which ends after the process.
func (s *stage) startBraked(start func() error) (*brake, error) {
	b := &brake{fd: -1, release: make(chan struct{}), done: make(chan struct{})}
	s.atEnd(func() {
		close(b.release)
		if b.fd >= 0 {
			<-b.done
			unix.Close(b.fd)
		}
	})
	started := make(chan error, 1)
	go func() {
		// The filter belongs for good to this thread and to its child process; Pdeathsig needs the
		// parent thread, too. The thread ends with this function.
		runtime.LockOSThread()
		var err error
		if b.fd, err = installBrake(); err == nil {
			err = start()
		}
		started <- err
		<-b.release
	}()
	err := <-started
	if b.fd >= 0 {
		go b.serve()
	}
	return b, err
}

// installBrake makes the kernel report each write or send of slowFrame bytes by this thread and by
// the processes that it starts.
func installBrake() (int, error) {
	const number, length = 0, 16 + 2*8 // in struct seccomp_data: the call's, and its third argument, LSB first
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_WRITE, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SENDTO, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: length},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: slowFrame, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	fd, err := installFilter(filter)
	if err != nil {
		return -1, fmt.Errorf("%w: seccomp: %w", errNoBrake, err)
	}
	return fd, nil
}

// serve lets each write go on when its time has passed.
func (b *brake) serve() {
	defer close(b.done)
	fds := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
	for {
		select {
		case <-b.release:
			return
		default:
		}
		const look = 100 // ms, at release
		if n, _ := unix.Poll(fds, look); n <= 0 || fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		id, err := receiveNotification(b.fd)
		if err != nil {
			continue // the process was killed meanwhile
		}
		b.held.Add(1)
		time.AfterFunc(slowWrite, func() {
			_ = letGoOn(b.fd, id) // fails if the process was killed
		})
	}
}

// slowLab is a daemon with one fast bus, the first, and slow ones.
type slowLab struct {
	*manyLab
	brake      *brake
	fast, slow *contender
	latency    [2][]time.Duration
}

func (l *slowLab) open() (err error) {
	if err := l.startResponder(); err != nil {
		return err
	}
	if l.brake, err = l.startBraked(func() error { return l.startDaemon("none") }); err != nil {
		return err
	}
	if err := l.dialBuses(make([]byte, slowData)); err != nil {
		return err
	}
	l.fast = l.contender("a fast bus", l.links[0], l.ipmbd)
	l.slow = l.contender("slow buses", newGroup(l.links[1:]), l.ipmbd)
	return nil
}

// beside drives the fast bus while all slow ones are driven. The CPU time of each includes the
// requests of both.
func (l *slowLab) beside(p pace) (fast, slow round, err error) {
	before, err := l.fast.cpuTimes()
	if err != nil {
		return fast, slow, err
	}
	slots := l.slow.link.(*group).spread(slowShare)
	var slowLoad load
	failed := make(chan error, 1)
	go func() {
		var err error
		slowLoad, err = drive(l.slow.link, slots, p.settle+p.measure, l.latency[1])
		failed <- err
	}()
	fast, err = l.fast.run(1, p, &l.latency[0])
	if err = errors.Join(err, <-failed); err != nil {
		return fast, slow, err
	}
	l.latency[1] = slowLoad.latency
	after, err := l.fast.cpuTimes()
	slow = slowLoad.round()
	slow.least = l.slow.link.(*group).least()
	both := load{latency: make([]time.Duration, len(slowLoad.latency)+len(l.latency[0]))}
	slow.serviceCPU, slow.busCPU = both.per10k(after[0]-before[0]), both.per10k(after[1]-before[1])
	fast.serviceCPU, fast.busCPU = slow.serviceCPU, slow.busCPU
	return fast, slow, err
}

// measureSlow measures a fast bus, alone and beside slow ones, and these.
func measureSlow(ctx context.Context, o options, v variant, out io.Writer, _ *goals) error {
	err := onMany(o, v, func(many *manyLab) error {
		l := &slowLab{manyLab: many}
		if err := l.open(); err != nil {
			return err
		}
		return l.measure(ctx, out)
	})
	if errors.Is(err, errNoBrake) {
		fmt.Fprintf(out, "slow buses: not measured: %v\n\n", err)
		return nil
	}
	return err
}

func (l *slowLab) measure(ctx context.Context, out io.Writer) error {
	pace := l.options.pace()
	var slow series
	all, err := inTurns(ctx, 2, l.options.rounds, func(i int) (round, error) {
		if i == 0 {
			return l.fast.run(1, pace, &l.latency[0])
		}
		fast, others, err := l.beside(pace)
		slow = append(slow, others)
		return fast, err
	})
	if err != nil {
		return err
	}
	if l.brake.held.Load() == 0 {
		return errors.New("no write was slow: ipmbd writes frames in another way than by write or send")
	}
	t := newCallTable(out, l.variant.titled(fmt.Sprintf("sendRequest on a fast bus and on %d whose writes take %v in the kernel", manyBuses-1, slowWrite)))
	t.row(1, "the fast bus alone", all[0])
	t.row(1, "the fast bus beside slow ones", all[1])
	t.row(slowShare, fmt.Sprintf("the slow buses, all together, %s (at most %.0f per s)",
		fairness(slow), float64(manyBuses-1)/slowWrite.Seconds()), slow)
	t.flush()
	return nil
}
