package bmc

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"ipmbd/ipmi"
)

// Config describes a BMC. Its zero value is one without identity, which keeps
// everything in memory and cannot act on a machine.
//
// The functions may be called from several goroutines at once; nil is nobody.
type Config struct {
	Identity Identity
	// GUID is what Get Device GUID and Get System GUID answer, as on the wire;
	// zero for a random one, which Settings keeps.
	GUID [16]byte
	// Storage is the event log, sensors and FRU inventory; nil for a log in memory
	// and nothing else.
	Storage *Storage
	// Settings keeps what is set; nil for the Storage's.
	Settings Settings
	// Machine carries out what is asked of the chassis; without one it is D5h.
	Machine Machine

	// Watchdog is told of each pre-timeout and time-out, after the Machine.
	Watchdog func(iface string, host int, e Expiry)
	// PreTimeout is told whether a pre-timeout's messaging interrupt is pending,
	// bit 3 of the message flags, in the order of the changes of an interface. It
	// must neither block nor call the BMC.
	PreTimeout func(iface string, pending bool)
	// LogEvent keeps the watchdog's events, and itself reports what goes wrong;
	// nil for Storage's log.
	LogEvent func(ctx context.Context, e ipmi.Event)
	// WatchdogSensor is the sensor number in those events.
	WatchdogSensor uint8

	// LANChannel and Channels are those of SetChannels.
	LANChannel ipmi.Channel
	Channels   ipmi.ChannelMask
}

// BMC is a management controller. It implements ipmi.Handler; its methods may be
// called from several goroutines at once.
type BMC struct {
	config  Config
	log     *Log
	sensors *Sensors
	frus    *FRUs
	// repository is the SDR repository.
	repository *repository
	support    ipmi.DeviceSupport
	started    time.Time
	hours      uint32        // that it had run before, all starts together
	changed    chan struct{} // wakes Run

	channels atomic.Pointer[channels]

	telling sync.Mutex // keeps what PreTimeout is told in order

	mu         sync.Mutex
	hosts      map[int]*host
	watchdogs  map[string]*watchdog // by interface
	inProgress map[string]bool      // sets of parameters that are being set
}

// New makes a BMC. Its watchdogs expire while Run runs.
func New(config Config) *BMC {
	if config.Storage == nil {
		config.Storage = &Storage{Log: new(Log)}
	}
	if config.Settings == nil {
		config.Settings = newKept(config.Storage.store)
	}
	if config.GUID == ([16]byte{}) {
		config.GUID = guid(config.Settings)
	}
	b := &BMC{
		config:     config,
		log:        config.Storage.Log,
		sensors:    config.Storage.Sensors,
		frus:       config.Storage.FRUs,
		repository: config.Storage.records(),
		support:    supportOf(commands),
		started:    time.Now(),
		changed:    make(chan struct{}, 1),
		hosts:      make(map[int]*host),
		watchdogs:  make(map[string]*watchdog),
		inProgress: make(map[string]bool),
	}
	b.hours = binary.LittleEndian.Uint32(b.setting(hoursSetting, 0, 0, 0, 0))
	b.SetChannels(config.LANChannel, config.Channels)
	return b
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
var commands = index(
	deviceCommands,
	acpiCommands,
	systemInfoCommands,
	watchdogCommands,
	channelCommands,
	userCommands,
	lanCommands,
	chassisCommands,
	bootCommands,
	logCommands,
	sensorCommands,
	repositoryCommands,
	fruCommands,
	pefCommands,
	payloadCommands,
)

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

// outcome answers with the completion code of an error, or of none.
func outcome(err error) ipmi.Response { return refuse(ipmi.CodeOf(err)) }

// answer answers with data.
func answer(data ...byte) ipmi.Response { return ipmi.Response{Data: data} }
