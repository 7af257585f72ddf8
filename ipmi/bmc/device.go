package bmc

import (
	"context"

	"ipmbd/ipmi"
)

// deviceCommands say what the controller is (IPMI v2.0, section 20).
var deviceCommands = []command{
	{ipmi.NetFnApp, ipmi.CommandGetDeviceID, 0, 0, getDeviceID},
	{ipmi.NetFnApp, 0x04, 0, 0, getSelfTestResults},
}

// DeviceID is the answer to Get Device ID of a controller without identity:
// device 20h, IPMI 2.0, a log and an event receiver, a bridge.
var DeviceID = []byte{0x20, 0x01, 0x00, 0x00, 0x02, supportsLog | supportsEvents | supportsBridge, 0, 0, 0, 0, 0}

// What a controller supports (IPMI v2.0, section 20.1).
const (
	supportsLog    = 1 << 2
	supportsEvents = 1 << 4
	supportsBridge = 1 << 6
)

func getDeviceID(b *BMC, _ context.Context, _ *ipmi.Request) ipmi.Response {
	return answer(append([]byte(nil), b.deviceID...)...)
}

// noSelfTest: the controller has none.
const noSelfTest = 0x56

func getSelfTestResults(*BMC, context.Context, *ipmi.Request) ipmi.Response {
	return answer(noSelfTest, 0)
}
