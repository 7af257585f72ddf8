package main

import (
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

// Bounds of the programs that make answers.
const (
	maxPrograms = 4    // that run at a time
	maxJobs     = 64   // requests that wait
	maxPrinted  = 4096 // bytes, for each of the answer three
	// leftOpen is how long a program that has ended may leave its output to
	// others.
	leftOpen = 500 * time.Millisecond
)

// program is a command line of the shell that answers requests. Requests that wait are
// served in the order in which they came. It implements ipmi.Handler.
type program struct {
	line    string
	timeout time.Duration
	stderr  io.Writer
	jobs    chan job // that wait
}

// job is a request with the time by which it is to be answered.
type job struct {
	req   *ipmi.Request
	reply ipmi.Reply
	until time.Time
}

func newProgram(line string, timeout time.Duration, stderr io.Writer) *program {
	if timeout == 0 {
		timeout = respondTimeout
	}
	return &program{line, timeout, stderr, make(chan job, maxJobs)}
}

// ServeIPMI has the program run, as soon as few enough run.
func (p *program) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	select {
	case p.jobs <- job{req, reply, time.Now().Add(p.timeout)}:
	default:
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
	}
}

// start begins to answer requests. Programs that run when ctx ends are killed. The caller
// calls stop when no more requests come.
func (p *program) start(ctx context.Context) (stop func()) {
	var workers sync.WaitGroup
	for range maxPrograms {
		workers.Go(func() {
			for next := range p.jobs {
				next.reply.Answer(p.answer(ctx, next))
			}
		})
	}
	return func() {
		close(p.jobs)
		workers.Wait()
	}
}

// answer answers a request by what the program prints.
func (p *program) answer(ctx context.Context, j job) (ipmi.Response, error) {
	ctx, cancel := context.WithDeadline(ctx, j.until)
	defer cancel()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ipmi.Response{}, ipmi.ErrBusy // It has waited for others.
	}
	printed, err := p.run(ctx, j.req)
	if err == nil {
		var response ipmi.Response
		if response, err = parseAnswer(printed); err == nil {
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

// run runs the program and returns what it has printed.
func (p *program) run(ctx context.Context, req *ipmi.Request) (string, error) {
	var printed boundedBuffer
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", p.line)
	cmd.Env = append(cmd.Environ(), requestEnvironment(req)...)
	cmd.Stdin = strings.NewReader(hexBytes(req.Data) + "\n")
	cmd.Stdout, cmd.Stderr = &printed, p.stderr
	// In a group of its own, what the shell has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = leftOpen
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

// requestEnvironment is a request as environment variables, but for its data.
func requestEnvironment(req *ipmi.Request) []string {
	return []string{
		fmt.Sprintf("IPMI_NETFN=%02x", uint8(req.NetFn)),
		fmt.Sprintf("IPMI_CMD=%02x", uint8(req.Command)),
		fmt.Sprintf("IPMI_LUN=%x", uint8(req.LUN)),
		fmt.Sprintf("IPMI_CHANNEL=%x", uint8(req.Channel)),
		fmt.Sprintf("IPMI_INTERFACE=%s", req.Interface),
		fmt.Sprintf("IPMI_REQUESTER=%02x", uint8(req.Requester)),
	}
}

// parseAnswer reads bytes in two hex digits each: completion code and data.
func parseAnswer(text string) (ipmi.Response, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ipmi.Response{}, errors.New("printed nothing; the first word must be the completion code: 00")
	}
	answer := make([]byte, 0, len(words))
	for _, word := range words {
		b, err := hex.DecodeString(word)
		if err != nil || len(b) != 1 {
			return ipmi.Response{}, fmt.Errorf("printed %q; write each byte in two hex digits: 00 2c", word)
		}
		answer = append(answer, b[0])
	}
	return ipmi.Response{Code: ipmi.CompletionCode(answer[0]), Data: answer[1:]}, nil
}

// boundedBuffer is a buffer that refuses what does not fit. A bytes.Buffer would
// read all by itself.
type boundedBuffer struct {
	text []byte
	full bool
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxPrinted {
		b.full = true
		return 0, io.ErrShortBuffer
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
