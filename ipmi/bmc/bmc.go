package bmc

import (
	"context"

	"ipmbd/ipmi"
)

// BMC is a management controller. It implements ipmi.Handler; its methods may be
// called from several goroutines at once.
type BMC struct {
	deviceID   []byte
	log        *Log
	sensors    *Sensors
	frus       *FRUs
	repository *repository
}

// New makes a BMC that identifies itself by the data of an answer to Get Device
// ID, and keeps what is in storage.
func New(deviceID []byte, storage *Storage) *BMC {
	return &BMC{deviceID: deviceID, log: storage.Log, sensors: storage.Sensors, frus: storage.FRUs, repository: storage.records()}
}

// command is one row of a table of commands, by the numbers of IPMI v2.0,
// appendix G.
type command struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	min, max int // bytes of data
	serve    func(*BMC, context.Context, *ipmi.Request) ipmi.Response
}

// commands are those of all groups; each file has its own.
var commands = index(deviceCommands, logCommands, sensorCommands, repositoryCommands, fruCommands)

type commandKey struct {
	netFn   ipmi.NetFn
	command ipmi.Command
}

func index(groups ...[]command) map[commandKey]command {
	all := make(map[commandKey]command)
	for _, group := range groups {
		for _, c := range group {
			all[commandKey{c.netFn, c.command}] = c
		}
	}
	return all
}

// ServeIPMI implements ipmi.Handler.
func (b *BMC) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	c, known := commands[commandKey{req.NetFn, req.Command}]
	switch {
	case req.LUN != 0:
		return refuse(ipmi.CodeInvalidForLUN), nil
	case !known:
		return ipmi.Response{}, ipmi.ErrNoHandler
	case len(req.Data) < c.min || len(req.Data) > c.max:
		return refuse(ipmi.CodeLengthInvalid), nil
	}
	return c.serve(b, ctx, req), nil
}

// refuse answers with a completion code and no data.
func refuse(c ipmi.CompletionCode) ipmi.Response { return ipmi.Response{Code: c} }

// answer answers with data.
func answer(data ...byte) ipmi.Response { return ipmi.Response{Data: data} }
