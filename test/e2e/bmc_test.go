package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"ipmbd/internal/bustest"
)

// Names of OpenBMC's state management.
const (
	stateChassis = "xyz.openbmc_project.State.Chassis"
	stateHost    = "xyz.openbmc_project.State.Host"
)

func TestBMCRemembers(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	folder := filepath.Join(t.TempDir(), "bmc")
	all := hosts([]object{config})
	all["bmc"] = object{"folder": folder, "frus": []object{{"name": "Board", "file": writeFile(t, "fru", "\x01\x00\x00\x00\x00\x00\x00\xFF")}}}

	d := start(t, bus.Address, all)
	m := boot(t, "unix", path, noAttention)
	m.asks(0x0A, 0x44, "0000 02 00000000 4100 04 01 30 01 57 60 5F", "00 0100") // Add SEL Entry
	m.asks(0x0A, 0x12, "00 0100 02", "00 01")                                   // Write FRU Data
	m.asks(0x00, 0x06, "02", "00 07")                                           // Set Power Restore Policy
	guid := m.answer(6, 0x37)                                                   // Get System GUID
	// Nothing has been told that the end is near.
	d.signal(syscall.SIGKILL)
	<-d.done

	start(t, bus.Address, all)
	m = boot(t, "unix", path, noAttention)
	entry := m.answer(0x0A, 0x43, unhex(t, "0000 0000 00 FF")...) // Get SEL Entry
	if got, want := entry[:5], unhex(t, "00 FFFF 0100"); !bytes.Equal(got, want) {
		t.Errorf("the entry begins % X, want % X", got, want)
	}
	if got, want := entry[len(entry)-9:], unhex(t, "4100 04 01 30 01 57 60 5F"); !bytes.Equal(got, want) {
		t.Errorf("the entry ends % X, want % X", got, want)
	}
	m.asks(0x0A, 0x11, "00 0100 01", "00 01 02") // Read FRU Data
	if status := m.answer(0, 0x01); status[1]>>5&3 != 2 {
		t.Errorf("power restore policy of % X", status)
	}
	if got := m.answer(6, 0x37); !bytes.Equal(got, guid) || len(guid) != 17 {
		t.Errorf("GUID % X was % X", got, guid)
	}
}

// Events that a host reads have the time that Set SEL Time has set.
func TestEventBufferGoesByTheClockOfTheLog(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}))
	m := boot(t, "unix", path, noAttention)
	m.asks(0x0A, 0x49, "00100000", "00") // Set SEL Time: 4096 s after 1970
	m.asks(6, 0x2E, "0C", "00")          // event message buffer, and the log
	m.sends(4, 0x02, unhex(t, "41 04 01 30 01 57 60 5F")...)
	m.hearsAnswerAnd(4, 0x02, "00", "01 A1")
	m.asks(4, 0x02, "41 04 01 30 01 57 60 5F", "00") // with which the attention stays
	got := m.answer(6, 0x35)
	if set, now := uint32(4096), binary.LittleEndian.Uint32(got[4:]); now < set || now > set+uint32(timeLimit/time.Second) {
		t.Errorf("% X: %d s after 1970, want %d", got, now, set)
	}
}

func TestSensorsReadFilesAndDBus(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	fans := connect(t, bus.Address)
	const fanPath, value = "/xyz/openbmc_project/sensors/fan_tach/Fan", "xyz.openbmc_project.Sensor.Value"
	properties, err := prop.Export(fans.Conn, fanPath, prop.Map{value: {"Value": {Value: 4000.0, Writable: true}}})
	if err != nil {
		t.Fatal(err)
	}
	fans.owns(t, "xyz.openbmc_project.FanSensor")
	temperature := writeFile(t, "temp1_input", "25000\n")
	config, path := vm(t, "host0", nil)
	all := hosts([]object{config}, channel(n, object{"handler": "none"}))
	all["bmc"] = object{"sensors": []object{
		{"name": "Inlet", "number": 1, "type": 1, "max": 255, "file": temperature, "scale": 0.001, "upper-critical": 80},
		{"name": "Fan", "number": 2, "type": 4, "max": 25500, "dbus": object{
			"service": "xyz.openbmc_project.FanSensor", "path": fanPath, "interface": value, "property": "Value"}},
		{"name": "Gone", "number": 3, "type": 4, "max": 255, "dbus": object{
			"service": "xyz.openbmc_project.NobodyThere", "path": fanPath, "interface": value, "property": "Value"}},
	}}
	start(t, bus.Address, all)
	events := connect(t, bus.Address).subscribe(t)
	m := boot(t, "unix", path, noAttention)
	fan := func(want string) {
		t.Helper()
		eventually(t, "the fan reads "+want, func() bool { return bytes.Equal(m.answer(4, 0x2D, 2), unhex(t, want)) })
	}
	m.asks(4, 0x2D, "01", "00 19 C0 C0")
	fan("00 28 C0 C0")
	m.asks(4, 0x2D, "03", "00 00 E0 C0") // unavailable
	properties.SetMust(value, "Value", 5000.0)
	fan("00 32 C0 C0")

	if err := os.WriteFile(temperature, []byte("85000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := receive(t, "an event", events)
	want := unhex(t, "04 01 01 01 59 55 50")
	if got := e.Body[3].([]byte); string(got) != string(want) {
		t.Errorf("event % X, want % X", got, want)
	}
	m.asks(0x0A, 0x43, "0000 0000 00 02", "00 FFFF 0100")

	m.asks(4, 0x00, "20 00", "00") // Set Event Receiver rearms the sensors.
	e = receive(t, "the event again", events)
	if got := e.Body[3].([]byte); string(got) != string(want) {
		t.Errorf("event % X, want % X", got, want)
	}
}

func TestChassisControlOfAMachine(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}))
	m := boot(t, "unix", path, noAttention)
	for action, told := range []string{"03 A1", "", "04 A1", "04 A1", "07 A1", "09 A1"} {
		m.sends(0, 0x02, byte(action))
		if told == "" {
			m.hearsAnswer(0, 0x02, "00") // It is on.
			continue
		}
		m.hearsAnswerAnd(0, 0x02, "00", told)
	}
	m.asks(6, 0x24, "04 03 00 00 0000", "00") // The watchdog is to power cycle it.
	m.sends(6, 0x22)
	m.hearsAnswerAnd(6, 0x22, "00", "04 A1")
}

func TestChassisControlOfAnOpenBMCHost(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "bmc", "devIndex": 1})))
	control := func(number, action byte) packet {
		return packet{to: 0x20, netFn: 0, from: 0x2C, number: number, cmd: 0x02, data: []byte{action}}
	}
	if code := n.code(t, control(1, 0)); code != 0xD5 {
		t.Errorf("with nobody to ask: %02Xh, want D5h", code)
	}
	state := connect(t, bus.Address)
	asked := make(chan string, 8)
	export := func(path dbus.ObjectPath, iface, property string) {
		t.Helper()
		if _, err := prop.Export(state.Conn, path, prop.Map{iface: {property: {Value: "", Writable: true, Callback: func(c *prop.Change) *dbus.Error {
			asked <- c.Value.(string)
			return nil
		}}}}); err != nil {
			t.Fatal(err)
		}
	}
	export("/xyz/openbmc_project/state/chassis1", stateChassis, "RequestedPowerTransition")
	export("/xyz/openbmc_project/state/host1", stateHost, "RequestedHostTransition")
	state.owns(t, stateChassis)  // as it was called when there was one
	state.owns(t, stateHost+"1") // and as it is now
	for i, test := range []struct {
		action byte
		want   string
	}{
		{0, stateChassis + ".Transition.Off"},
		{1, stateHost + ".Transition.On"},
		{2, stateChassis + ".Transition.PowerCycle"},
		{3, stateHost + ".Transition.ForceWarmReboot"},
		{5, stateHost + ".Transition.Off"},
	} {
		if code := n.code(t, control(byte(i+2), test.action)); code != 0 {
			t.Errorf("action %d: %02Xh", test.action, code)
			continue
		}
		if got := receive(t, "a request", asked); got != test.want {
			t.Errorf("action %d: asked for %s, want %s", test.action, got, test.want)
		}
	}
	if code := n.code(t, control(9, 4)); code != 0xD5 {
		t.Errorf("interrupt, which nobody can give: %02Xh, want D5h", code)
	}
}

// The chassis status follows the state that OpenBMC shows, also when its service starts late,
// stops and starts again.
func TestPowerOfAnOpenBMCHost(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "bmc", "devIndex": 1})))
	const path, property = "/xyz/openbmc_project/state/chassis1", "CurrentPowerState"
	number := byte(0)
	is := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("power on: %v", want), func() bool {
			number = (number + 1) & 0x3F
			answer := n.ask(t, packet{to: 0x20, netFn: 0, from: 0x2C, number: number, cmd: 0x01})
			return answer.data[1]&1 != 0 == want
		})
	}
	asks := func(netFn, cmd byte, data ...byte) []byte {
		t.Helper()
		number = (number + 1) & 0x3F
		return n.ask(t, packet{to: 0x20, netFn: netFn, from: 0x2C, number: number, cmd: cmd, data: data}).data
	}
	ask := func(cmd byte, data ...byte) []byte { t.Helper(); return asks(6, cmd, data...) }
	areBootFlagsValid := func() bool { t.Helper(); return asks(0, 0x09, 0x05, 0, 0)[3]&0x80 != 0 }
	is(true) // nothing is known: a client has asked
	for _, name := range []string{stateChassis + "1", stateChassis} {
		asks(0, 0x08, 0x05, 0x80, 0x04, 0, 0, 0)
		state := connect(t, bus.Address)
		properties, err := prop.Export(state.Conn, path, prop.Map{stateChassis: {
			property: {Value: stateChassis + ".PowerState.Off", Emit: prop.EmitTrue}}})
		if err != nil {
			t.Fatal(err)
		}
		state.owns(t, name)
		is(false)
		if !areBootFlagsValid() {
			t.Error("a host that was off has no boot flags any more")
		}
		for _, step := range []struct {
			state string
			on    bool
		}{{"TransitioningToOn", false}, {"On", true}, {"TransitioningToOff", true}, {"Off", false}} {
			properties.SetMust(stateChassis, property, stateChassis+".PowerState."+step.state)
			is(step.on)
			if step.state == "On" {
				ask(0x24, 0x04, 0x01, 0x00, 0x00, 0xFF, 0xFF)
				ask(0x22)
			}
		}
		eventually(t, "the watchdog of what is off stands", func() bool { return ask(0x25)[1] == 0x04 })
		eventually(t, "the boot flags of what has lost its power end", func() bool { return !areBootFlagsValid() })
		if code := n.code(t, packet{to: 0x20, netFn: 0, from: 0x2C, number: number + 1, cmd: 0x02, data: []byte{2}}); code != 0xD5 {
			t.Errorf("power cycle of what is off: %02Xh, want D5h", code)
		}
		number++
		state.Close()
		is(true)
	}
}

// owns takes a name.
func (c client) owns(t testing.TB, name string) {
	t.Helper()
	if _, err := c.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
}
