package i2cbus

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"ipmbd/bus"
	"ipmbd/i2c"
)

// machine is the kernel's side of a bus, in the hands of a test.
type machine struct {
	opener opener // nil: a line on the device, if there is one

	mu      sync.Mutex
	device  i2c.Binding // the device that exists, or zero
	lines   []*line     // each that was opened
	done    []string    // actions on the device
	bindErr map[uint8]error
	unbind  error // of every unbind
	fixed   error // why no device can be deleted
	watches map[*fakeWatch]bool
	changes int // at the place of the device, so far
	noWatch bool
}

func newMachine() *machine {
	return &machine{bindErr: map[uint8]error{}, watches: map[*fakeWatch]bool{}}
}

func (m *machine) system() system {
	return system{open: m.open, look: m.look, bind: m.bind, unbind: m.delete, bindingOf: m.bindingOf, removable: func(string) error { return m.fixed }}
}

func (m *machine) open(path string, switches i2c.Switches) (i2c.Transport, string, error) {
	if m.opener != nil {
		return m.opener()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device == (i2c.Binding{}) || m.device.Node() != path {
		return nil, "auto", &i2c.OpError{Op: "open", Device: path, Err: fs.ErrNotExist}
	}
	l := newLine()
	m.lines = append(m.lines, l)
	if m.device.Driver == i2c.IPMBDevice {
		return &switchedLine{line: l, switches: switches}, m.device.Driver, nil
	}
	return l, m.device.Driver, nil
}

// appear makes a device, as another program would, and notifies the watches.
func (m *machine) appear(b i2c.Binding) {
	m.mu.Lock()
	m.device = b
	m.mu.Unlock()
	m.tell()
}

// vanish deletes the device, as another program would, and notifies the watches.
func (m *machine) vanish() {
	m.mu.Lock()
	m.device = i2c.Binding{}
	last := m.lines[len(m.lines)-1]
	m.mu.Unlock()
	close(last.over)
	m.tell()
}

// replace deletes the device and makes it again, before any program notices.
func (m *machine) replace(b i2c.Binding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device = b
	m.changes += 2
	close(m.lines[len(m.lines)-1].over)
}

func (m *machine) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	for w := range m.watches {
		w.changed <- struct{}{}
	}
}

func (m *machine) bind(_ context.Context, b i2c.Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, "bind "+b.String())
	if err := m.bindErr[b.Addr]; err != nil {
		return &i2c.OpError{Op: "bind", Device: b.String(), Err: err}
	}
	m.device = b
	return nil
}

var errOpenDevice = errors.New("deleted while it was open")

func (m *machine) delete(b i2c.Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, "unbind "+b.String())
	for _, l := range m.lines {
		select {
		case <-l.closed:
		default:
			return errOpenDevice
		}
	}
	if m.unbind != nil {
		return &i2c.OpError{Op: "unbind", Device: b.String(), Err: m.unbind}
	}
	if m.device == b {
		m.device = i2c.Binding{}
	}
	return nil
}

func (m *machine) bindingOf(path string) (i2c.Binding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device.Driver == "" || m.device.Driver == i2c.SlaveMqueue || m.device.Node() != path {
		return i2c.Binding{}, fs.ErrNotExist
	}
	return m.device, nil
}

// did returns the actions on the device since its last call.
func (m *machine) did() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := m.done
	m.done = nil
	return done
}

// opened is how many transports were opened, and how many are open.
func (m *machine) opened() (all, open int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		select {
		case <-l.closed:
		default:
			open++
		}
	}
	return len(m.lines), open
}

// open watches are those that were not closed.
func (m *machine) openWatches() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watches)
}

// fakeWatch is a watch that a test tells.
type fakeWatch struct {
	machine *machine
	changed chan struct{} // has room
}

func (m *machine) look(string) func() (bus.Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.changes
	return func() (bus.Watch, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.noWatch {
			return nil, os.ErrInvalid
		}
		w := &fakeWatch{m, make(chan struct{}, 10)}
		if m.changes != seen {
			w.changed <- struct{}{}
		}
		m.watches[w] = true
		return w, nil
	}
}

func (w *fakeWatch) Wait(ctx context.Context) error {
	select {
	case <-w.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *fakeWatch) Close() error {
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	delete(w.machine.watches, w)
	return nil
}

// switchedLine is a line with a driver that has switches.
type switchedLine struct {
	*line
	mu       sync.Mutex
	switches i2c.Switches
	err      error
}

func (l *switchedLine) Switches() i2c.Switches {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.switches
}

func (l *switchedLine) SetIgnoreNACK(on bool) error {
	return l.set(func(s *i2c.Switches) { s.IgnoreNACK = on })
}

func (l *switchedLine) SetVerifyChecksum(on bool) error {
	return l.set(func(s *i2c.Switches) { s.VerifyChecksum = on })
}

func (l *switchedLine) set(change func(*i2c.Switches)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		change(&l.switches)
	}
	return l.err
}
