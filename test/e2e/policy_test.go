package e2e

import (
	"strings"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
	"ipmbd/units"
)

// TestPolicyOfASystemBus: the daemon works on a bus like the system's with the installed policy
// file, and other users can read but not change anything.
func TestPolicyOfASystemBus(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	const anyHost = `<busconfig><policy context="default"><allow own="xyz.openbmc_project.Ipmi.Host"/></policy></busconfig>`
	bus := bustest.StartConfig(t, bustest.Config{System: true, Policies: []string{
		writeFile(t, "ipmbd.conf", string(units.Policy)),
		writeFile(t, "host.conf", anyHost),
	}})
	n := listen(t, "ipmb-5")
	respond, asked := recorder(deviceID)
	n.respond(0x2C, respond)
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(channel(n, object{"bus-name": "INTRABMC"})))

	request := []string{"call", service, basePath, legacy, "sendRequest", "yyyyay", "1", "6", "0", "1", "0"}
	out, err := busctlAsNobody(t, bus.Address, request...)
	if err == nil || !strings.Contains(out, "ccess denied") && !strings.Contains(out, "rejected") {
		t.Errorf("nobody: %s %v", out, err)
	}
	if len(asked) > 0 {
		t.Error("a request of nobody's came to the bus")
	}
	if out, err := busctl(t, bus.Address, request...); err != nil || !strings.HasPrefix(out, "(iyyyyay) 0 7 0 1 0 11") {
		t.Errorf("root: %s %v", out, err)
	}
	if out, err := busctlAsNobody(t, bus.Address, "get-property", service, basePath+"/bus5", objectIface, "State"); out != `s "Up"` || err != nil {
		t.Errorf("nobody looks: %s %v", out, err)
	}
	if out, err := busctlAsNobody(t, bus.Address, "introspect", service, basePath); err != nil {
		t.Errorf("nobody introspects: %s %v", out, err)
	}
	if code := n.code(t, packet{to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 1}); code != 0 {
		t.Errorf("a request from the bus: %02Xh", code)
	}
}
