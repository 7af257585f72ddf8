package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// guestLab is virtual machines whose guests ask: one for each kind of system
// interface, which has one interface to ipmbd and one to ipmi_sim. So the two are
// asked by one and the same emulated processor.
type guestLab struct {
	*stage
	asked [][]*guestContender // by each guest; see the constants below
}

// Contenders of each guest. ipmi_sim may be missing.
const (
	guestIPMBD = iota
	guestSimulator
)

// guestContender is a service that a guest asks.
type guestContender struct {
	bmcPort
	guest *guest
	path  string // of the guest's device
}

// guestKinds are the kinds of interfaces, with two places for the registers of one.
var guestKinds = []struct {
	name, device string
	addresses    [2]int
}{
	{"KCS", "isa-ipmi-kcs", [2]int{0xCA2, 0xCB2}},
	{"BT", "isa-ipmi-bt", [2]int{0xE4, 0x1E4}},
}

// guestIRQs are the interrupts of the two: Linux takes both for levels.
var guestIRQs = [2]int{5, 10}

// run drives the contender for one round.
func (c *guestContender) run(ctx context.Context, p pace) (round, error) {
	before, err := cpuTime(c.service.pid())
	if err != nil {
		return round{}, err
	}
	output, err := c.guest.run(ctx, fmt.Sprintf("bench %s %s %v %v", partDriver, c.path, p.settle, p.measure))
	if err != nil {
		return round{}, fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := cpuTime(c.service.pid())
	if err != nil {
		return round{}, err
	}
	d, err := parseDriven(output)
	if err != nil {
		return round{}, fmt.Errorf("%s: %w", c.name, err)
	}
	return round{p50: d.p50, p99: d.p99, rate: d.rate, serviceCPU: (after - before) * 10_000 / time.Duration(d.requests)}, nil
}

// open starts the services and boots the guests, all of them at the same time.
func (l *guestLab) open(ctx context.Context, o options) error {
	bmcs, err := l.startServices(o)
	if err != nil {
		return err
	}
	initrd, err := l.makeInitrd(o.guest)
	if err != nil {
		return err
	}
	var guests []*guest
	for _, of := range bmcs {
		g, err := l.startGuest(filepath.Join(o.guest, "vmlinux"), initrd, of)
		if err != nil {
			return err
		}
		guests = append(guests, g)
	}
	for i, g := range guests {
		if err := g.boot(ctx, len(bmcs[i])); err != nil {
			return err
		}
		var asked []*guestContender
		for _, b := range bmcs[i] {
			path, err := g.device(ctx, b)
			if err != nil {
				return err
			}
			asked = append(asked, &guestContender{b, g, path})
		}
		l.asked = append(l.asked, asked)
	}
	return nil
}

// startServices starts the services of each guest: one ipmbd for all, and an ipmi_sim for each if
// it is installed. A guest connects when its service listens.
func (l *guestLab) startServices(o options) ([][]bmcPort, error) {
	bmcs := make([][]bmcPort, len(guestKinds))
	var hosts []object
	for i, kind := range guestKinds {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, machineAt(portAddress(port), kind.device, i))
		bmcs[i] = []bmcPort{{"ipmbd", nil, kind.device, kind.addresses[0], guestIRQs[0], port}}
	}
	ipmbd, _, err := l.startIPMBD(o, variant{}, object{"channels": []object{}, "hosts": hosts})
	if err != nil {
		return nil, err
	}
	for i, kind := range guestKinds {
		bmcs[i][guestIPMBD].service = ipmbd
		p, port, err := l.startSimulator()
		if errors.Is(err, errNoSimulator) {
			continue
		}
		if err != nil {
			return nil, err
		}
		bmcs[i] = append(bmcs[i], bmcPort{simulator, p, kind.device, kind.addresses[1], guestIRQs[1], port})
	}
	return bmcs, nil
}

// makeInitrd makes the guests' initrd: the folder's initrd, and this program in an archive behind
// it, which Linux unpacks as well.
func (l *guestLab) makeInitrd(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	root, initrd := l.path("root"), l.path("initrd")
	add := exec.Command("sh", "-ec", `mkdir -p "$1/bin"; cp "$2" "$1/bin/bench"; cp "$3" "$4"; cd "$1"; find . | cpio -o -H newc --quiet -R 0:0 >>"$4"`,
		"sh", root, self, filepath.Join(dir, "initrd"), initrd)
	if out, err := add.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initrd: %w: %s", err, out)
	}
	return initrd, nil
}

// noGuests is why nothing can be measured in guests, "" if it can.
func noGuests(o options) string {
	if _, err := exec.LookPath(emulator); err != nil {
		return emulator + " is not installed (apt-get install qemu-system-x86)"
	}
	if o.guest == "" {
		return "there is no virtual machine (test/guest/x86/build makes it, and -guest names it)"
	}
	return ""
}

// measureGuests drives the contenders by the guests, one kind of interface after
// the other.
func measureGuests(ctx context.Context, o options, out io.Writer, _ *goals) error {
	const title = "Get Device ID through /dev/ipmi of a virtual machine in QEMU, one outstanding"
	if why := noGuests(o); why != "" {
		fmt.Fprintf(out, "%s\nnot measured: %s\n\n", title, why)
		return nil
	}
	return onStage(o, variant{}, func(s *stage) error {
		l := &guestLab{stage: s}
		if err := l.open(ctx, o); err != nil {
			return err
		}
		t := newVMTable(out, title, "interface")
		compared := false
		for i, asked := range l.asked {
			place := guestKinds[i].name
			all, err := inTurns(ctx, len(asked), o.rounds, func(k int) (round, error) { return asked[k].run(ctx, o.pace()) })
			if err != nil {
				return err
			}
			for k, c := range asked {
				t.row(place, c.name, all[k])
			}
			if compared = len(all) > guestSimulator; compared {
				t.ratios(place, fmt.Sprintf("ipmbd / %s (goal: at most %.2f of its p50)", simulator, goalGuest), all[guestIPMBD], all[guestSimulator])
			}
		}
		t.flushCompared(compared)
		return nil
	})
}
