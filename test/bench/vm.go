package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// vmLab is what serves a virtual machine: ipmbd and ipmi_sim, both on one
// processor, and a client of each.
type vmLab struct {
	stage      *stage
	processors []int // the services are on the first one
	machines   []*machine
	contenders []*contender // see the constants below
}

// Contenders of vmLab.contenders. ipmi_sim listens on TCP only, and is the last
// one: it may be missing.
const (
	vmIPMBD     = iota // on TCP
	vmIPMBDUnix        // on a Unix socket
	vmSimulator
)

func openVMLab(ctx context.Context, program string) (*vmLab, error) {
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	l := &vmLab{stage: s}
	if l.processors, err = processors(); err == nil {
		err = onProcessor(l.processors[0], func() error { return l.open(ctx, program) })
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *vmLab) close() {
	for _, m := range l.machines {
		m.close()
	}
	l.stage.close()
}

// open starts the services.
func (l *vmLab) open(ctx context.Context, program string) error {
	bus, err := l.stage.startMessageBus()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	path := filepath.Join(l.stage.dir, "vm")
	d, err := newDaemon(l.stage, program, bus, variant{}, config{Channels: []channel{}, Hosts: []host{
		{"vm", "tcp:127.0.0.1:" + strconv.Itoa(port), "tcp", "bmc", 0},
		{"vm", "unix:" + path, "unix", "bmc", 1},
	}})
	if err != nil {
		return err
	}
	ipmbd, _, err := d.start()
	if err != nil {
		return err
	}
	dialPath := func() (int, error) { return dial(unix.SOCK_STREAM, path) }
	if err := l.add(ctx, "ipmbd", ipmbd, portDialer(port)); err != nil {
		return err
	}
	if err := l.add(ctx, "ipmbd, Unix socket", ipmbd, dialPath); err != nil {
		return err
	}
	return l.openSimulator(ctx)
}

// openSimulator starts ipmi_sim if it is there.
func (l *vmLab) openSimulator(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	p, err := l.stage.startSimulator(port)
	if errors.Is(err, errNoSimulator) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.add(ctx, simulator, p, portDialer(port))
}

func portDialer(port int) func() (int, error) {
	return func() (int, error) { return dialTCP(port) }
}

// add connects a machine to a service.
func (l *vmLab) add(ctx context.Context, name string, service *process, dial func() (int, error)) error {
	fd, err := dialSoon(ctx, service, dial)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m, err := newMachine(fd)
	l.machines = append(l.machines, m)
	l.contenders = append(l.contenders, &contender{name: name, link: m, service: service.pid()})
	return err
}

// dialSoon connects to a service that has only just been started.
func dialSoon(ctx context.Context, service *process, dial func() (int, error)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		fd, err := dial()
		if err == nil {
			return fd, nil
		}
		select {
		case <-service.done:
			return -1, service.end()
		case <-ctx.Done():
			return -1, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// measureVM drives the contenders by a client on their processor, and then by one
// on another if there is one.
func measureVM(ctx context.Context, o options, out io.Writer) error {
	l, err := openVMLab(ctx, o.ipmbd)
	if err != nil {
		return err
	}
	defer l.close()
	t := newVMTable(out, "Get Device ID from a virtual machine, on TCP; service on one processor, client on the same or another", "client")
	for i, processor := range l.processors[:min(len(l.processors), 2)] {
		var all []series
		err := onProcessor(processor, func() (err error) {
			all, err = measureRounds(ctx, l.contenders, 1, o)
			return err
		})
		if err != nil {
			return err
		}
		l.print(t, clientPlaces[i], all)
	}
	t.flush(len(l.contenders) > vmSimulator)
	return nil
}

func (l *vmLab) print(t vmTable, place string, all []series) {
	for i, c := range l.contenders {
		t.row(place, c.name, all[i])
	}
	if len(all) > vmSimulator {
		t.ratios(place, fmt.Sprintf("ipmbd / %s (goal: at least %.2f of its rate)", simulator, goalVM), all[vmIPMBD], all[vmSimulator])
		t.ratios(place, "ipmbd, Unix socket / "+simulator, all[vmIPMBDUnix], all[vmSimulator])
	}
}

// clientPlaces are where the client is, seen from the services.
var clientPlaces = [...]string{"same", "other"}
