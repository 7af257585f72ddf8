package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"ipmbd/ipmi"
)

// Limits of the program of respond --exec.
const (
	maxPrograms = 4    // that run at a time
	maxJobs     = 64   // requests that wait
	maxPrinted  = 4096 // bytes: more than enough for the longest response
	// maxLeftOpen is how long other processes may keep the output open after the program has
	// ended.
	maxLeftOpen = 500 * time.Millisecond
)

// program is a command line for the shell that makes responses. Waiting requests are served in the
// order in which they came. It implements ipmi.Handler.
type program struct {
	line    string
	timeout time.Duration
	stderr  io.Writer
	jobs    chan job // that wait
}

// job is a request with its deadline.
type job struct {
	req      *ipmi.Request
	reply    ipmi.Reply
	deadline time.Time
}

func newProgram(line string, timeout time.Duration, stderr io.Writer) *program {
	return &program{line, cmp.Or(timeout, respondTimeout), stderr, make(chan job, maxJobs)}
}

// ServeIPMI queues a request for the program.
func (p *program) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	select {
	case p.jobs <- job{req, reply, time.Now().Add(p.timeout)}:
	default:
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
	}
}

// start starts to serve requests. When ctx ends, the programs that run are killed. The caller
// calls stop when no more requests come.
func (p *program) start(ctx context.Context) (stop func()) {
	var workers sync.WaitGroup
	for range maxPrograms {
		workers.Go(func() {
			for next := range p.jobs {
				next.reply.Answer(p.respond(ctx, next))
			}
		})
	}
	return func() {
		close(p.jobs)
		workers.Wait()
	}
}

// respond runs the program for a request and reads the response that it prints.
func (p *program) respond(ctx context.Context, j job) (ipmi.Response, error) {
	ctx, cancel := context.WithDeadline(ctx, j.deadline)
	defer cancel()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ipmi.Response{}, ipmi.ErrBusy // It has waited for other requests.
	}
	printed, err := p.execute(ctx, j.req)
	if err == nil {
		var response ipmi.Response
		if response, err = parsePrinted(printed); err == nil {
			return response, nil
		}
	}
	switch ctx.Err() {
	case nil:
		return ipmi.Response{}, fmt.Errorf("%s: %w", p.line, err)
	case context.DeadlineExceeded:
		return ipmi.Response{}, fmt.Errorf("%s: %w", p.line, ipmi.ErrTooSlow)
	}
	return ipmi.Response{}, ipmi.ErrAbandoned
}

// execute runs the program and returns its output.
func (p *program) execute(ctx context.Context, req *ipmi.Request) (string, error) {
	var printed boundedBuffer
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", p.line)
	cmd.Env = append(cmd.Environ(),
		fmt.Sprintf("IPMI_NETFN=%02x", uint8(req.NetFn)),
		fmt.Sprintf("IPMI_CMD=%02x", uint8(req.Command)),
		fmt.Sprintf("IPMI_LUN=%x", uint8(req.LUN)),
		fmt.Sprintf("IPMI_CHANNEL=%x", uint8(req.Channel)),
		fmt.Sprintf("IPMI_INTERFACE=%s", req.Interface),
		fmt.Sprintf("IPMI_REQUESTER=%02x", uint8(req.Requester)))
	cmd.Stdin = strings.NewReader(hexBytes(req.Data) + "\n")
	cmd.Stdout, cmd.Stderr = &printed, p.stderr
	// A process group of its own, so that the kill also ends what the shell has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = maxLeftOpen
	err := cmd.Run()
	switch {
	case printed.full:
		err = errors.New("printed too much")
	case errors.Is(err, exec.ErrWaitDelay):
		_ = kill()
		err = errors.New("left its standard output open")
	}
	return string(printed.text), err
}

// parsePrinted reads bytes of two hex digits each: completion code and data.
func parsePrinted(text string) (ipmi.Response, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ipmi.Response{}, errors.New("printed nothing; the first word must be the completion code: 00")
	}
	bytes := make([]byte, 0, len(words))
	for _, word := range words {
		b, err := hex.DecodeString(word)
		if err != nil || len(b) != 1 {
			return ipmi.Response{}, fmt.Errorf("printed %q; write each byte in two hex digits: 00 2c", word)
		}
		bytes = append(bytes, b[0])
	}
	return ipmi.Response{Code: ipmi.CompletionCode(bytes[0]), Data: bytes[1:]}, nil
}

// boundedBuffer refuses more than maxPrinted bytes. It has no ReadFrom, with which os/exec would
// read without a bound.
type boundedBuffer struct {
	text []byte
	full bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxPrinted {
		b.full = true
		return 0, io.ErrShortBuffer
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
