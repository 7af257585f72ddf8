package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"ipmbd/ipmi"
)

// Bounds of the programs that make answers.
const (
	maxPrograms = 4    // that run at a time
	maxPrinted  = 4096 // bytes, for each of the answer three
	// leftOpen is how long a program that has ended may leave its output to
	// others.
	leftOpen = 500 * time.Millisecond
)

// program is a command line of the shell that answers requests. It implements
// ipmi.Handler.
type program struct {
	line    string
	timeout time.Duration
	stderr  io.Writer
	slots   chan struct{} // of those that run
}

func newProgram(line string, timeout time.Duration, stderr io.Writer) *program {
	if timeout == 0 {
		timeout = respondTimeout
	}
	return &program{line, timeout, stderr, make(chan struct{}, maxPrograms)}
}

// ServeIPMI runs the program, as soon as few enough run.
func (p *program) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ipmi.Response{}, ipmi.ErrBusy
	}
	defer func() { <-p.slots }()
	printed, err := p.run(ctx, req)
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
	return ipmi.Response{}, ipmi.ErrGone
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
