package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

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

// startSimulator starts one at a port, with a folder of its own. It prints nothing
// when it is ready.
func (s *stage) startSimulator(port int) (*process, error) {
	program, err := exec.LookPath(simulator)
	if err != nil {
		return nil, errNoSimulator
	}
	dir := filepath.Join(s.dir, fmt.Sprintf("%s-%d", simulator, port))
	conf, emu := filepath.Join(dir, "lan.conf"), filepath.Join(dir, "bmc.emu")
	err = errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(conf, fmt.Appendf(nil, simulatorConfig, port), 0o600),
		os.WriteFile(emu, []byte(simulatorBMC), 0o600))
	if err != nil {
		return nil, err
	}
	return s.start(exec.Command(program, "-c", conf, "-f", emu, "-s", dir, "-n"))
}
