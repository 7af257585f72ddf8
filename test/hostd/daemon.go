package hostd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Arguments of Start and Open.
const (
	// Print makes the daemon report each request; see Daemon.Next.
	Print = "--print"
	// DelayMS, with a number after it, delays every answer by that many
	// milliseconds: "--delay-ms=200".
	DelayMS = "--delay-ms="
	// Register, with netFn, command and a mask of channels after it, registers the
	// program with ipmbd in place of taking the host daemon's name:
	// "--register=6,1,8".
	Register = "--register="
	// WrongSignature answers every request with a string.
	WrongSignature = "--wrong-signature"
)

// maxReported is how many requests may be reported and not yet asked for. More
// are a fault of the test.
const maxReported = 1 << 16

// Daemon is a running host IPMI daemon.
type Daemon struct {
	cmd      *exec.Cmd
	stderr   strings.Builder
	ready    chan struct{}
	requests chan Request
	done     chan struct{}
}

// Start starts the daemon on the bus at a D-Bus address and returns when it
// owns its name. It ends with its test.
func Start(t testing.TB, address string, args ...string) *Daemon {
	t.Helper()
	d, err := Open(address, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	return d
}

// Open starts the daemon on the bus at a D-Bus address and returns when it
// owns its name, or is registered. The caller ends it.
func Open(address string, args ...string) (*Daemon, error) {
	program, err := Build()
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		cmd:      exec.Command(program, append(args, address)...),
		ready:    make(chan struct{}),
		requests: make(chan Request, maxReported),
		done:     make(chan struct{}),
	}
	d.cmd.Stderr = &d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("hostd: %w", err)
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("hostd: %w", err)
	}
	go d.watch(bufio.NewScanner(stdout))
	select {
	case <-d.ready:
		return d, nil
	case <-d.done:
		return nil, fmt.Errorf("hostd ended at its start: %s", strings.TrimSpace(d.stderr.String()))
	}
}

// watch reads the output of the daemon until it ends.
func (d *Daemon) watch(lines *bufio.Scanner) {
	defer close(d.done)
	for lines.Scan() {
		if lines.Text() == "ready" {
			close(d.ready)
			continue
		}
		d.report(lines.Bytes())
	}
	_ = d.cmd.Wait()
}

func (d *Daemon) report(line []byte) {
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		panic(fmt.Sprintf("hostd printed %q: %v", line, err))
	}
	select {
	case d.requests <- r:
	default:
		panic("hostd: nobody asks for the requests that it reports")
	}
}

// Next is the next request that arrived at a daemon started with Print. A test
// for which none comes in ten seconds fails. To show that a request did not
// arrive again, send another one: they are reported in order.
func (d *Daemon) Next(t testing.TB) Request {
	t.Helper()
	select {
	case r := <-d.requests:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("hostd: no request arrived")
		return Request{}
	}
}

// PID is the process id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Done is closed when the process has ended.
func (d *Daemon) Done() <-chan struct{} { return d.done }

// Stop ends the daemon in an orderly way and waits for its end.
func (d *Daemon) Stop() { d.end(syscall.SIGTERM) }

// Kill ends the daemon at once and waits for its end. It may be called when
// the daemon has ended.
func (d *Daemon) Kill() { d.end(os.Kill) }

func (d *Daemon) end(signal os.Signal) {
	_ = d.cmd.Process.Signal(signal)
	<-d.done
}
