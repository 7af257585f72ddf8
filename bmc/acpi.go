package bmc

import "ipmbd/ipmi"

// acpiCommands keep the power states that system software tells (IPMI v2.0,
// sections 20.6 and 20.7).
var acpiCommands = []command{
	{ipmi.NetFnApp, 0x06, 2, 2, atOnce(setACPIPowerState)},
	{ipmi.NetFnApp, 0x07, 0, 0, atOnce(getACPIPowerState)},
}

const (
	acpiSet      = 1 << 7 // the state is to be set
	acpiNoChange = 0x7F
	acpiUnknown  = 0x2A
)

// isSystemState knows S0 to S5, S4 or S5, mechanical off, sleeping, G1 sleeping,
// override, legacy on and off, unknown.
func isSystemState(state byte) bool {
	return state <= 0x0A || state == 0x20 || state == 0x21 || state == acpiUnknown
}

// isDeviceState knows D0 to D3 and unknown.
func isDeviceState(state byte) bool { return state <= 0x03 || state == acpiUnknown }

// setACPIPowerState takes the states of system and device.
func setACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	system, systemOK := acpiState(h.system, req.Data[0], isSystemState)
	device, deviceOK := acpiState(h.device, req.Data[1], isDeviceState)
	if !systemOK || !deviceOK {
		return refuse(ipmi.CodeInvalidField)
	}
	h.system, h.device = system, device
	return answer()
}

// acpiState is what a byte of the request makes of a state.
func acpiState(now, asked byte, valid func(byte) bool) (state byte, ok bool) {
	state = asked &^ acpiSet
	if asked&acpiSet == 0 || state == acpiNoChange {
		return now, true
	}
	return state, valid(state)
}

func getACPIPowerState(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	return answer(h.system, h.device)
}
