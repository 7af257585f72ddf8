package bmc

import (
	"context"

	"ipmbd/ipmi"
)

// BMC is a management controller. It implements ipmi.Handler; its methods may be
// called from several goroutines at once.
type BMC struct {
	deviceID []byte
	log      *Log
}

// New makes a BMC that identifies itself by the data of an answer to Get Device
// ID, and keeps a log.
func New(deviceID []byte, log *Log) *BMC { return &BMC{deviceID: deviceID, log: log} }

// DeviceID is the answer to Get Device ID of a controller without identity:
// device 20h, IPMI 2.0, a log and an event receiver, a bridge.
var DeviceID = []byte{0x20, 0x01, 0x00, 0x00, 0x02, supportsLog | supportsEvents | supportsBridge, 0, 0, 0, 0, 0}

// What a controller supports (IPMI v2.0, section 20.1).
const (
	supportsLog    = 1 << 2
	supportsEvents = 1 << 4
	supportsBridge = 1 << 6
)

// command is one row of the table of commands.
type command struct {
	netFn   ipmi.NetFn
	command ipmi.Command
	length  int // bytes of data
	serve   func(*BMC, []byte) ipmi.Response
}

// commands is the table of all commands, by the numbers of IPMI v2.0, appendix
// G.
var commands = [...]command{
	{ipmi.NetFnApp, ipmi.CommandGetDeviceID, 0, getDeviceID},
	{ipmi.NetFnApp, 0x04, 0, getSelfTestResults},

	{ipmi.NetFnStorage, 0x40, 0, getLogInfo},
	{ipmi.NetFnStorage, 0x42, 0, reserveLog},
	{ipmi.NetFnStorage, 0x43, 6, getLogEntry},
	{ipmi.NetFnStorage, 0x44, recordLength, addLogEntry},
	{ipmi.NetFnStorage, 0x47, 6, clearLog},
	{ipmi.NetFnStorage, 0x48, 0, getLogTime},
	{ipmi.NetFnStorage, 0x49, 4, setLogTime},
}

// ServeIPMI implements ipmi.Handler.
func (b *BMC) ServeIPMI(_ context.Context, req *ipmi.Request) (ipmi.Response, error) {
	if req.LUN != 0 {
		return ipmi.Response{Code: ipmi.CodeInvalidForLUN}, nil
	}
	for _, c := range commands {
		if c.netFn != req.NetFn || c.command != req.Command {
			continue
		}
		if len(req.Data) != c.length {
			return ipmi.Response{Code: ipmi.CodeLengthInvalid}, nil
		}
		return c.serve(b, req.Data), nil
	}
	return ipmi.Response{}, ipmi.ErrNoHandler
}

func getDeviceID(b *BMC, _ []byte) ipmi.Response {
	return ipmi.Response{Data: append([]byte(nil), b.deviceID...)}
}

// noSelfTest: the controller has none.
const noSelfTest = 0x56

func getSelfTestResults(*BMC, []byte) ipmi.Response {
	return ipmi.Response{Data: []byte{noSelfTest, 0}}
}
