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

	// Blocking serves the commands that may block, in order with the other requests of an
	// interface that it serves. Its owner closes it, before Storage is closed. With nil the
	// BMC makes its own.
	Blocking *ipmi.Blocking

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

	blocking *ipmi.Blocking // serves the commands that may block
	acting   *ipmi.Blocking // serves the commands that the machine carries out

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
		blocking:   config.Blocking,
		acting:     ipmi.NewBlocking(nil), // each request brings its function
		hosts:      make(map[int]*host),
		watchdogs:  make(map[string]*watchdog),
		inProgress: make(map[string]bool),
	}
	if b.blocking == nil {
		b.blocking = ipmi.NewBlocking(nil)
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
	service
}

// service serves a command: atOnce, waits, reads or acts.
type service interface {
	// serve answers a request whose data have the right length.
	serve(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response
	// mayBlock reports whether serve may wait for something outside of the process.
	mayBlock(b *BMC, req *ipmi.Request) bool
}

// atOnce serves a command that reads or changes memory only.
type atOnce func(b *BMC, req *ipmi.Request) ipmi.Response

func (s atOnce) serve(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response { return s(b, req) }

func (atOnce) mayBlock(*BMC, *ipmi.Request) bool { return false }

// waits serves a command that waits for the store or for a computation.
type waits func(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response

func (s waits) serve(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response {
	return s(b, ctx, req)
}

func (waits) mayBlock(*BMC, *ipmi.Request) bool { return true }

// acts serves a command that waits for the machine, which may be slow. Later requests do
// not wait behind it: the host may run again, and ask, before the machine has answered.
type acts waits

func (s acts) serve(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response {
	return s(b, ctx, req)
}

func (acts) mayBlock(*BMC, *ipmi.Request) bool { return true }

// reads serves a command that reads a sensor, whose number comes first.
type reads func(b *BMC, req *ipmi.Request) ipmi.Response

func (s reads) serve(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response { return s(b, req) }

// mayBlock returns true for a sensor that reads a file: its driver may hang.
func (reads) mayBlock(b *BMC, req *ipmi.Request) bool {
	s := b.sensors.find(req.Data[0])
	return s != nil && s.File != ""
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

// ServeIPMI implements ipmi.Handler. A command that only reads or changes memory is answered
// before it returns. The Blocking serves the others; while it has requests of an interface,
// later requests of that interface wait behind them, so that none overtakes another.
func (b *BMC) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	c, known := commands[commandKey{req.NetFn, req.Command}]
	switch {
	case req.LUN != 0:
		reply.Answer(refuse(ipmi.CodeInvalidForLUN), nil)
	case !known:
		reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
	case len(req.Data) < c.min || len(req.Data) > c.max:
		reply.Answer(refuse(ipmi.CodeLengthInvalid), nil)
	case c.mayBlock(b, req) || !b.blocking.Idle(req.Interface):
		b.serveLater(c.service, req, reply)
	default:
		reply.Answer(c.serve(b, context.Background(), req), nil)
	}
}

// serveLater serves a request that may block, or that waits behind others.
func (b *BMC) serveLater(s service, req *ipmi.Request, reply ipmi.Reply) {
	serve := func(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
		return s.serve(b, ctx, req), nil
	}
	if _, ok := s.(acts); !ok {
		b.blocking.Queue(serve, req, reply)
		return
	}
	if b.blocking.Idle(req.Interface) {
		b.acting.Queue(serve, req, reply)
		return
	}
	// It waits behind earlier requests, but later ones do not wait behind it.
	b.blocking.Queue(func(context.Context, *ipmi.Request) (ipmi.Response, error) {
		b.acting.Queue(serve, req, reply)
		return ipmi.Response{}, nil
	}, req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool { return err == nil || reply.Answer(res, err) }))
}

// Close waits for the requests that wait or are being served, for each at most until its
// deadline. The owner of Config.Blocking closes that first. Later requests are not served.
// The Storage is closed after the BMC.
func (b *BMC) Close() {
	if b.config.Blocking == nil {
		b.blocking.Close()
	}
	b.acting.Close()
}

// refuse answers with a completion code and no data.
func refuse(c ipmi.CompletionCode) ipmi.Response { return ipmi.Response{Code: c} }

// outcome answers with the completion code of an error, or of none.
func outcome(err error) ipmi.Response { return refuse(ipmi.CodeOf(err)) }

// answer answers with data.
func answer(data ...byte) ipmi.Response { return ipmi.Response{Data: data} }
