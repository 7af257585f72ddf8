package main

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/bustest"
	"ipmbd/test/build"
)

// stage is a folder with a private message bus, on which every client may do everything, and the
// processes that were started.
type stage struct {
	dir  string
	bus  *process
	ends []func() // in the order of the starts
}

// onStage does something on a new stage, and then ends the processes, the last one first.
func onStage(o options, v variant, do func(s *stage) error) error {
	// Socket addresses have room for 108 bytes: not below a long TMPDIR.
	dir, err := os.MkdirTemp("", "ipmbd-bench-")
	if err != nil {
		return err
	}
	s := &stage{dir: dir}
	s.atEnd(func() { os.RemoveAll(dir) })
	defer func() {
		for _, end := range slices.Backward(s.ends) {
			end()
		}
	}()
	if v.broker != "" {
		s.bus, err = s.startReady(o.program("broker"), v.broker, s.path("bus"))
	} else {
		err = s.startMessageBus()
	}
	if err != nil {
		return err
	}
	return do(s)
}

func (s *stage) atEnd(end func()) { s.ends = append(s.ends, end) }

// path returns the path of a file of the stage.
func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// address returns the address of the message bus, for D-Bus libraries.
func (s *stage) address() string { return "unix:path=" + s.path("bus") }

func (s *stage) startMessageBus() error {
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		return fmt.Errorf("needs dbus-daemon; install it with: apt-get install dbus-daemon (or dbus) (%w)", err)
	}
	file := s.path("bus.conf")
	if err := os.WriteFile(file, []byte(bustest.Document(bustest.Config{}, s.path("bus"))), 0o600); err != nil {
		return err
	}
	s.bus, err = s.startReady(program, "--config-file="+file, "--nofork", "--nopidfile", "--print-address")
	return err
}

// process is a running process.
type process struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	done   chan struct{}
}

// start starts a process, and keeps its stderr for end.
func (s *stage) start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.atEnd(p.stop)
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

// stop asks the process to end, and kills it after two seconds. It may be called more than once.
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

// The parts are processes of this same program: its arguments say which.
const (
	partFloor     = "part:floor"     // ADDRESS SOCKET
	partResponder = "part:responder" // SOCKET...
	partDriver    = "part:driver"    // DEVICE SETTLE MEASURE, in a guest
)

var parts = map[string]func(args []string) error{
	partFloor:     func(args []string) error { return runFloor(args[0], args[1]) },
	partResponder: runResponder,
	partDriver:    func(args []string) error { return runDriver(args[0], args[1], args[2]) },
}

func isPart(args []string) bool { return len(args) > 0 && parts[args[0]] != nil }

// sayReady tells the parent that a part serves.
func sayReady() { fmt.Println("ready") }

// startPart starts a part and returns when it serves.
func (s *stage) startPart(args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return s.startReady(self, args...)
}

// floorSources are the C programs that the daemon is measured against, and the cheapest peers: see
// the head of each.
//
//go:embed floor/*.c floor/*.h
var floorSources embed.FS

// compilePrograms compiles the C programs in a folder.
func compilePrograms(dir string) error {
	err := os.CopyFS(dir, floorSources)
	for _, name := range []string{"echo", "bridge", "host", "broker"} {
		if err == nil {
			err = build.C(filepath.Join(dir, name), filepath.Join(dir, "floor", name+".c"))
		}
	}
	return err
}

// program is the path of a C program.
func (o options) program(name string) string { return filepath.Join(o.programs, name) }

// cpuTime returns the CPU time that all threads of a process have used, user and system. It uses
// the clock of clock_getcpuclockid(3); unlike the numbers in /proc it has no steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED, include/uapi/linux/time.h and posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// resident is the memory of a process that is in RAM, in KiB (VmRSS).
func (p *process) resident() (int, error) {
	return statusNumber(fmt.Sprintf("/proc/%d/status", p.pid()), "VmRSS: %d kB")
}

// statusNumber is the number in the line of a file /proc/PID/status that has a form.
func statusNumber(file, form string) (n int, err error) {
	status, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if found, _ := fmt.Sscanf(line, form, &n); found == 1 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no %q in %s", form, file)
}

// processors are those that this process may use.
func processors() (list []int, err error) {
	var set unix.CPUSet
	err = unix.SchedGetaffinity(0, &set)
	for n := range len(set) * 64 {
		if set.IsSet(n) {
			list = append(list, n)
		}
	}
	return list, err
}

// onFirstProcessor is onProcessor of the first one.
func onFirstProcessor(do func() error) error {
	list, err := processors()
	if err != nil {
		return err
	}
	return onProcessor(list[0], do)
}

// onProcessor does something on one processor. A process that it starts stays
// there.
func onProcessor(processor int, do func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	only.Set(processor)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return do()
}

// rest waits.
func rest(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}
