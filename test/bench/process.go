package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a directory and the processes that were started; close ends them.
type stage struct {
	dir       string
	processes []*process
}

func newStage() (*stage, error) {
	// Socket addresses have room for 108 bytes: not below a long TMPDIR.
	dir, err := os.MkdirTemp("", "ipmbd-bench-")
	if err != nil {
		return nil, err
	}
	return &stage{dir: dir}, nil
}

// close ends the processes, the last one first.
func (s *stage) close() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].stop()
	}
	os.RemoveAll(s.dir)
}

// process is a running process.
type process struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	done   chan struct{}
}

// start starts a process; what it prints to stderr is kept for end.
func (s *stage) start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	return p, nil
}

// startReady starts a process and returns when it has printed a line.
func (s *stage) startReady(program string, args ...string) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout = write
	p, err := s.start(cmd)
	write.Close()
	if err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		return nil, p.end()
	}
	return p, nil
}

// errEnded: a process is gone that should be there.
var errEnded = errors.New("ended")

// end waits for the end of a process that should not have one.
func (p *process) end() error {
	<-p.done
	return fmt.Errorf("%s %w: %s", p.cmd.Path, errEnded, strings.TrimSpace(p.stderr.String()))
}

// stop asks the process to end and makes it, after two seconds. It may be
// called more than once.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// cpuTime is the CPU time that all threads of a process have used, user and
// system. The clock's number is that of clock_getcpuclockid(3); unlike the
// numbers in /proc it has no steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED, include/uapi/linux/time.h and posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// resident is the memory of a process that is in RAM, in KiB (VmRSS).
func resident(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	kib, err := statusNumber(status, "VmRSS: %d kB")
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return kib, nil
}

// statusNumber is the number in the line of a /proc/PID/status that has a form.
func statusNumber(status []byte, form string) (n int, err error) {
	for line := range strings.Lines(string(status)) {
		if found, _ := fmt.Sscanf(line, form, &n); found == 1 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no %q in its status", form)
}
