package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// driver is a link in a guest: Get Device ID to the management controller behind
// Linux's IPMI driver, one at a time, with the system calls that ipmitool makes.
type driver struct {
	connection
	uncounted
	message int // the number of the one in flight
	data    [64]byte
}

// runDriver drives a device unmeasured, then measures it, and prints a driven. It takes the
// arguments of partDriver.
func runDriver(device, settle, measure string) error {
	p, err := parsePace(settle, measure)
	if err != nil {
		return err
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", device, err)
	}
	defer unix.Close(fd)
	d := &driver{connection: connection{fd}}
	before, err := drive(d, 1, p.settle, nil)
	if err != nil {
		return err
	}
	requests := len(before.latency)
	l, err := drive(d, 1, p.measure, before.latency)
	if err != nil {
		return err
	}
	fmt.Println(driven{requests + len(l.latency), l.percentile(50), l.percentile(99), l.rate()})
	return nil
}

func parsePace(settle, measure string) (p pace, err error) {
	if p.settle, err = time.ParseDuration(settle); err != nil {
		return p, err
	}
	p.measure, err = time.ParseDuration(measure)
	return p, err
}

// driven is what a driver prints.
type driven struct {
	requests int // all, the unmeasured ones too
	p50, p99 time.Duration
	rate     float64 // per second
}

const drivenFormat = "requests %d p50 %d p99 %d rate %f"

// String implements fmt.Stringer.
func (d driven) String() string {
	return fmt.Sprintf(drivenFormat, d.requests, int64(d.p50), int64(d.p99), d.rate)
}

func parseDriven(text string) (d driven, err error) {
	if _, err = fmt.Sscanf(text, drivenFormat, &d.requests, &d.p50, &d.p99, &d.rate); err != nil || d.requests < 1 {
		return d, fmt.Errorf("not what a driver prints: %q", text)
	}
	return d, nil
}

// ask implements link.
func (d *driver) ask(int) { d.message++ }

// send implements link.
func (d *driver) send() error {
	return sendToController(d.fd, d.message, ipmi.NetFnApp, ipmi.CommandGetDeviceID)
}

// answers implements link.
func (d *driver) answers() ([]int, error) {
	if err := d.await(); err != nil {
		return nil, err
	}
	message, n, err := receiveFromController(d.fd, d.data[:])
	if err != nil {
		return nil, err
	}
	const shortest = 1 + 11 // completion code, Get Device ID's least
	if message != d.message || n < shortest || d.data[0] != 0 {
		return nil, fmt.Errorf("not the device ID with number %d: %d, % X", d.message, message, d.data[:n])
	}
	return onlySlot, nil
}

// await waits for a message.
func (d *driver) await() error {
	ready := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, int(timeLimit.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			return fmt.Errorf("no answer in %v", timeLimit)
		}
		return err
	}
}
