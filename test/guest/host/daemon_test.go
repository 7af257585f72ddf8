package host

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"ipmbd/internal/bustest"
)

// daemon is an ipmbd that has hosts, and a satellite for each.
type daemon struct {
	satellites []*satellite
	sockets    []string // where the machines connect
	address    string   // of its message bus
	config     string

	cmd   *exec.Cmd
	ended chan struct{}
	log   log // of all processes in turn
}

// start starts a daemon with a number of hosts and returns when it listens.
func start(t *testing.T, hosts int) *daemon {
	t.Helper()
	dir := socketDir(t)
	d := &daemon{address: bustest.Start(t).Address, config: filepath.Join(dir, "ipmbd.json")}
	var channels, interfaces []object
	for i := range hosts {
		s := newSatellite(t, byte(i+1))
		socket := filepath.Join(dir, fmt.Sprintf("host%d.sock", i))
		channels = append(channels, object{
			"type": "ipmb", "devIndex": i, "name": fmt.Sprintf("bus%d", i), "slave-path": s.path,
			"remote-addr": satelliteAddress, "handler": "bmc",
		})
		interfaces = append(interfaces, object{
			"type": "vm", "devIndex": i, "name": fmt.Sprintf("host%d", i), "path": "unix:" + socket,
		})
		d.satellites, d.sockets = append(d.satellites, s), append(d.sockets, socket)
	}
	text, err := json.Marshal(object{"channels": channels, "hosts": interfaces, "bmc": bmc})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("ipmbd said:\n%s", &d.log)
		}
	})
	d.run(t)
	return d
}

// object is a JSON object.
type object = map[string]any

// bmc is the configuration of the machines' BMC.
var bmc = object{
	"guid":     "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
	"identity": object{"firmware": "1.05", "manufacturer": 343, "product": 11},
	"sensors": []object{
		{"name": "Inlet", "number": 1, "type": 1, "entity": 55, "unit": 1, "min": 0, "max": 255, "value": 25, "upper-critical": 80},
		{"name": "Intrusion", "number": 2, "type": 5, "entity": 23, "event-type": 111, "states": 1},
	},
	"frus": []object{
		{"name": "Baseboard", "id": 0, "entity": 7, "size": 512, "board": object{
			"made": "2026-01-31", "manufacturer": "Example", "name": "Board One", "serial-number": "S1", "part-number": "P1"}},
		{"name": "Riser", "id": 1, "entity": 16, "product": object{"manufacturer": "Example", "name": "Riser Two"}},
		{"name": "Spare", "id": 2, "size": 64},
	},
}

// run starts the process, which ends with its test, and returns when its satellites
// are connected.
func (d *daemon) run(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command(program, "--bus", d.address, "--config", d.config)
	d.cmd.Stderr = &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait()
	}()
	for _, s := range d.satellites {
		eventually(t, "a connection to the satellite", func() bool {
			if d.hasEnded() {
				t.Fatal("ipmbd has ended")
			}
			return s.connected()
		})
	}
}

func (d *daemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// stop ends the process by a signal; SIGTERM must make it end with status 0.
func (d *daemon) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	_ = d.cmd.Process.Signal(signal)
	eventually(t, fmt.Sprintf("the end of ipmbd, by %v", signal), d.hasEnded)
	for _, s := range d.satellites {
		eventually(t, "the satellite to be left alone", func() bool { return !s.connected() })
	}
	if code := d.cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		t.Errorf("ipmbd ended with status %d", code)
	}
}

// crash kills the process and, when something has happened meanwhile, starts it
// again: it has lost its state.
func (d *daemon) crash(t *testing.T, meanwhile func()) {
	t.Helper()
	d.stop(t, syscall.SIGKILL)
	meanwhile()
	d.run(t)
}

// hosts is how often a machine has connected.
func (d *daemon) hosts() int { return len(connections.FindAllString(d.log.String(), -1)) }

var connections = regexp.MustCompile(`"host": "[a-z0-9]+", "state": "Up"`)
