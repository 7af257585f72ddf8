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
	// slowWrite is about what a frame takes on a wire of 100 kHz: the driver's
	// write returns when it is sent.
	slowWrite = 2 * time.Millisecond
	// slowData is the length of the data of requests to a slow bus, by which their
	// writes are known. Nothing else that ipmbd writes is as long as their frames.
	slowData  = 40
	slowFrame = 7 + slowData
	// slowShare is in flight on each slow bus, enough for a write to follow another.
	slowShare = 8
)

// brake makes writes of a process slow: seccomp holds each of a certain length in
// the kernel, with its thread, until slowWrite has passed, and lets it go on then
// (seccomp_unotify(2)). So the process has a driver's slow writes on a socket, and
// has no part in that.
type brake struct {
	fd      int // where the kernel tells of writes
	held    atomic.Int64
	release chan struct{} // closed when the process has ended
	done    chan struct{}
}

var errNoBrake = errors.New("writes cannot be held here")

// startBraked starts a process with a brake.
func startBraked(start func() error) (*brake, error) {
	b := &brake{release: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The filter is the thread's for good, and the process's whose parent it
		// is; Pdeathsig needs the parent, too. It ends with this function.
		runtime.LockOSThread()
		var err error
		if b.fd, err = installBrake(); err == nil {
			err = start()
		}
		started <- err
		<-b.release
	}()
	if err := <-started; err != nil {
		close(b.release)
		return nil, err
	}
	go b.serve()
	return b, nil
}

// end is to be called when the process has ended.
func (b *brake) end() {
	close(b.release)
	<-b.done
	unix.Close(b.fd)
}

// installBrake makes the kernel tell of each write or send of slowFrame bytes by
// this thread and by the processes that it starts.
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

func openSlow(o options, p programs, v variant) (*slowLab, error) {
	var b *brake
	many, err := openMany(p, v, func(l *manyLab) error {
		if err := l.startResponder(); err != nil {
			return err
		}
		var err error
		if b, err = startBraked(func() error { return l.startDaemon(o, v, "none") }); err != nil {
			return err
		}
		return l.dialSlow()
	})
	if err != nil {
		if b != nil {
			b.end()
		}
		return nil, err
	}
	return &slowLab{
		manyLab: many, brake: b,
		fast: many.contender("a fast bus", many.links[0]), slow: many.contender("slow buses", newGroup(many.links[1:])),
	}, nil
}

func (l *slowLab) close() {
	l.manyLab.close()
	l.brake.end()
}

// dialSlow has a client for each bus. All but the first send long requests.
func (l *manyLab) dialSlow() error {
	for i := range l.paths {
		m := sendRequest(ipmbdName, indexOf(i))
		if i > 0 {
			m.data = make([]byte, slowData)
		}
		if err := l.dial(m); err != nil {
			return err
		}
	}
	return nil
}

// beside drives the fast bus while all slow ones are driven. The CPU of each is that
// of the requests of both.
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
func measureSlow(ctx context.Context, o options, p programs, v variant, out io.Writer) error {
	l, err := openSlow(o, p, v)
	if errors.Is(err, errNoBrake) {
		fmt.Fprintf(out, "slow buses: not measured: %v\n\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer l.close()
	var slow series
	all, err := inTurns(ctx, 2, o.rounds, func(i int) (round, error) {
		if i == 0 {
			return l.fast.run(1, o.pace(), &l.latency[0])
		}
		fast, others, err := l.beside(o.pace())
		slow = append(slow, others)
		return fast, err
	})
	if err != nil {
		return err
	}
	if l.brake.held.Load() == 0 {
		return errors.New("no write was slow: ipmbd writes frames in another way than by write or send")
	}
	t := newCallTable(out, titled(fmt.Sprintf("sendRequest on a fast bus and on %d whose writes take %v in the kernel", manyBuses-1, slowWrite), v))
	t.row(1, "the fast bus alone", all[0])
	t.row(1, "the fast bus beside slow ones", all[1])
	t.row(slowShare, fmt.Sprintf("the slow buses, all together, %s (at most %.0f per s)",
		fairness(slow), float64(manyBuses-1)/slowWrite.Seconds()), slow)
	t.flush()
	return nil
}
