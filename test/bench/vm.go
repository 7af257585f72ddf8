package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// vmLab has the services of a virtual machine: ipmbd and ipmi_sim, both on one processor, and a
// client of each.
type vmLab struct {
	*stage
	contenders []*contender // see the constants below
}

// Contenders of vmLab.contenders. ipmi_sim listens on TCP only, and is the last
// one: it may be missing.
const (
	vmIPMBD     = iota // on TCP
	vmIPMBDUnix        // on a Unix socket
	vmSimulator
)

// open starts the services.
func (l *vmLab) open(ctx context.Context, o options) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	ipmbd, _, err := l.startIPMBD(o, variant{}, object{"channels": []object{}, "hosts": []object{
		machineAt(portAddress(port), "tcp", 0), machineAt("unix:"+l.path("vm"), "unix", 1),
	}})
	if err != nil {
		return err
	}
	err = l.add(ctx, "ipmbd", ipmbd, &unix.SockaddrInet4{Port: port})
	if err == nil {
		err = l.add(ctx, "ipmbd, Unix socket", ipmbd, l.at("vm"))
	}
	if err != nil {
		return err
	}
	p, port, err := l.startSimulator()
	if errors.Is(err, errNoSimulator) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.add(ctx, simulator, p, &unix.SockaddrInet4{Port: port})
}

// machineAt is a machine in ipmbd's configuration.
func machineAt(path, name string, devIndex int) object {
	return object{"type": "vm", "path": path, "name": name, "handler": "bmc", "devIndex": devIndex}
}

func portAddress(port int) string { return fmt.Sprint("tcp:127.0.0.1:", port) }

// add connects a machine to a service.
func (l *vmLab) add(ctx context.Context, name string, service *process, address unix.Sockaddr) error {
	conn, err := l.dialSoon(ctx, service, address)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m, err := newMachine(conn)
	l.contenders = append(l.contenders, &contender{name: name, link: m, service: service.pid()})
	return err
}

// dialSoon connects to a service that has only just been started.
func (s *stage) dialSoon(ctx context.Context, service *process, address unix.Sockaddr) (connection, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	for {
		conn, err := s.dial(unix.SOCK_STREAM, address)
		if err == nil {
			return conn, nil
		}
		select {
		case <-service.done:
			return conn, service.end()
		case <-ctx.Done():
			return conn, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// simulator is OpenIPMI's ipmi_sim, which QEMU's manual has at the other end of
// ipmi-bmc-extern.
const simulator = "ipmi_sim"

// errNoSimulator: there is nothing to compare with.
var errNoSimulator = errors.New(simulator + " is not installed")

// simulatorConfig is a machine at a port (ipmi_lan(5)).
const simulatorConfig = `name "bench"
set_working_mc 0x20
  serial 15 127.0.0.1 %d codec VM
`

// simulatorBMC is the device ID of ipmbd's built-in BMC, as near as may be
// (ipmi_sim_cmd(5)).
const simulatorBMC = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x01 0x00 0x00 0x0f 0x0000 0x0000
mc_enable 0x20
`

// startSimulator starts ipmi_sim at a port, with a folder of its own. It prints nothing when it is
// ready.
func (s *stage) startSimulator() (p *process, port int, err error) {
	program, err := exec.LookPath(simulator)
	if err != nil {
		return nil, 0, errNoSimulator
	}
	if port, err = freePort(); err != nil {
		return nil, 0, err
	}
	dir := s.path(fmt.Sprintf("%s-%d", simulator, port))
	conf, emu := dir+"/lan.conf", dir+"/bmc.emu"
	err = errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(conf, fmt.Appendf(nil, simulatorConfig, port), 0o600),
		os.WriteFile(emu, []byte(simulatorBMC), 0o600))
	if err == nil {
		p, err = s.start(exec.Command(program, "-c", conf, "-f", emu, "-s", dir, "-n"))
	}
	return p, port, err
}

// measureVM drives the contenders by a client on their processor, and then by one
// on another if there is one.
func measureVM(ctx context.Context, o options, out io.Writer, _ *goals) error {
	return onStage(o, variant{}, func(s *stage) error {
		l := &vmLab{stage: s}
		if err := onFirstProcessor(func() error { return l.open(ctx, o) }); err != nil {
			return err
		}
		list, err := processors()
		if err != nil {
			return err
		}
		t := newVMTable(out, "Get Device ID from a virtual machine, on TCP; service on one processor, client on the same or another", "client")
		for i, processor := range list[:min(len(list), 2)] {
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
		t.flushCompared(len(l.contenders) > vmSimulator)
		return nil
	})
}

func (l *vmLab) print(t table, place string, all []series) {
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
