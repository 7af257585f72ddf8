package bmc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipmbd/ipmi"
)

// Config describes a BMC. Its zero value is a BMC without identity, which keeps its state in
// memory and cannot act on a machine.
//
// The BMC may call the functions from several goroutines at once; each may be nil.
type Config struct {
	Identity Identity
	// GUID is the answer to Get Device GUID and Get System GUID, as on the wire. Zero is a random
	// one, which the journal keeps.
	GUID [16]byte

	// Folder is the folder of the journal, in which the event log, FRU data and settings are
	// stored; empty keeps them in memory.
	Folder string
	// Report is called with each damaged file of the journal and, while Open runs, with each FRU
	// device whose configuration has changed since it was written to. A BMC with a Folder needs it.
	Report func(error)
	// DiskState is called when the BMC can no longer use the Folder, with the cause: from then on it
	// keeps its state in memory, and Run tries the Folder again each minute. It is called with nil
	// when everything is on the disk again. A BMC with a Folder needs it.
	DiskState func(cause error)
	// LogCapacity is how many records the event log holds, at most 32768; 0 is 4096.
	LogCapacity int
	Sensors     []SensorConfig
	FRUs        []FRUConfig
	// Controllers have a record in the SDR repository each, and so does the BMC itself, at 20h on
	// channel 0, if it is not among them.
	Controllers []Controller

	// Machine carries out chassis actions. Without one the BMC refuses them (D5h).
	Machine Machine

	// SensorFault is called by PollSensors when a sensor has no value any more, with the cause, and
	// with nil when it has one again.
	SensorFault func(sensor string, cause error)

	// Watchdog is called at each pre-timeout and time-out, after the Machine.
	Watchdog func(iface string, host int, e Expiry)
	// PreTimeout is called when the messaging interrupt of a pre-timeout becomes pending or ends:
	// bit 3 of the message flags. The calls for an interface come in the order of the changes.
	// The function must neither block nor call the BMC.
	PreTimeout func(iface string, pending bool)
	// HostReset is called when a host was reset or has lost its power, and ColdReset at a Cold Reset
	// from a host: state of the host that others keep ends with it. They must not block.
	HostReset, ColdReset func(host int)
	// LogEvent logs the events of watchdogs, and reports errors itself; nil logs them in the
	// BMC's own log.
	LogEvent func(ctx context.Context, e ipmi.Event)
	// WatchdogSensor is the sensor number in the events of watchdogs, 0 to 254 (IPMI v2.0, table
	// 32-1). No sensor of that number needs to exist.
	WatchdogSensor uint8

	// Blocking serves the commands that may block, in order with the other requests that it serves
	// for the same interface. Its owner closes it before the BMC. If it is nil, the BMC makes its
	// own.
	Blocking *ipmi.Blocking

	journal *journal // for tests: instead of the journal of Folder
}

// Validate reports all faults.
func (c Config) Validate() error {
	var errs []error
	if c.Folder != "" && (c.Report == nil || c.DiskState == nil) {
		errs = append(errs, fmt.Errorf("folder %s: there is no Report or no DiskState", c.Folder))
	}
	if c.LogCapacity < 0 || c.LogCapacity > maxCapacity {
		errs = append(errs, fmt.Errorf("log: a capacity of %d records; 1 to %d are possible", c.LogCapacity, maxCapacity))
	}
	_, sensors := newSensors(c.Sensors)
	_, frus := newFRUs(c.FRUs, nil)
	errs = append(errs, sensors, frus)
	for _, controller := range c.Controllers {
		errs = append(errs, controller.Validate())
	}
	return errors.Join(errs...)
}

// BMC is a management controller. It implements ipmi.Handler. Its methods may be called from
// several goroutines at once.
type BMC struct {
	config     Config
	journal    *journal
	log        *Log
	sensors    []*sensor
	frus       []*fruDevice
	repository *repository
	started    time.Time
	hours      atomic.Uint32 // that it had run before, all starts together
	changed    chan struct{} // wakes Run

	channels atomic.Pointer[channels]

	blocking *ipmi.Blocking // serves the commands that may block
	acting   *ipmi.Blocking // serves the commands that the machine carries out
	tests    passwordTests
	hashing  sync.Mutex // one password at a time

	reporting sync.Mutex // keeps the calls of PreTimeout in order

	mu         sync.Mutex
	hosts      map[int]*host
	watchdogs  map[string]*watchdog // by interface
	inProgress map[string]int       // sets of parameters that are being set: the host that began
}

// Open opens a BMC and its journal. Its watchdogs expire while Run runs. Open returns the errors
// of Validate, and an error if the path of the folder can never be one: if there is a file in its
// place, or the name is too long. With any other fault of the folder the BMC keeps its state in
// memory.
func Open(config Config) (*BMC, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	j := config.journal
	if j == nil {
		j = newJournal(nil)
	}
	if config.Folder != "" {
		var err error
		if j, err = openJournal(config.Folder, config.Report, config.DiskState); err != nil {
			return nil, err
		}
	}
	b := &BMC{
		config:     config,
		journal:    j,
		log:        newLog(config.LogCapacity, j),
		started:    time.Now(),
		changed:    make(chan struct{}, 1),
		blocking:   config.Blocking,
		acting:     ipmi.NewBlocking(nil), // each request brings its function
		tests:      passwordTests{blocking: ipmi.NewBlocking(nil), paused: make(map[string]time.Time)},
		hosts:      make(map[int]*host),
		watchdogs:  make(map[string]*watchdog),
		inProgress: make(map[string]int),
	}
	if b.blocking == nil {
		b.blocking = ipmi.NewBlocking(nil)
	}
	b.sensors, _ = newSensors(config.Sensors) // Validate has reported its error.
	if err := b.openFRUs(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	b.repository = b.newRepository()
	if config.GUID == ([16]byte{}) {
		b.makeGUID()
	}
	b.hours.Store(b.storedHours())
	j.merged = b.adoptJournal
	b.SetChannels(0, 0)
	return b, nil
}

// storedHours are the power-on hours in the journal.
func (b *BMC) storedHours() uint32 {
	return binary.LittleEndian.Uint32(b.setting(hoursSetting, 0, 0, 0, 0))
}

// adoptJournal takes what the journal has read late, merged with its own values.
func (b *BMC) adoptJournal(values map[string][]byte) {
	b.log.adopt(values)
	if hours := values[hoursSetting]; len(hours) == 4 {
		b.hours.Add(binary.LittleEndian.Uint32(hours) - b.storedHours())
	}
}

// Log returns the event log.
func (b *BMC) Log() *Log { return b.log }

// command is one row of a table of commands, with the numbers of IPMI v2.0, appendix G.
type command struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	min, max int // bytes of data
	speed    speed
	serve    func(b *BMC, req *ipmi.Request) ipmi.Response // nil for chassisControl
}

// speed says what a command waits for.
type speed uint8

const (
	atOnce speed = iota // nothing: it reads or changes memory
	waits               // the journal or a computation
	acts                // the machine, for which later requests do not wait
)

type commandKey struct {
	netFn   ipmi.NetFn
	command ipmi.Command
}

// commands has the commands of all groups; each file has one group.
var commands = index(deviceCommands, acpiCommands, systemInfoCommands, watchdogCommands, channelCommands,
	payloadCommands, pefCommands, userCommands, lanCommands, chassisCommands, bootCommands, logCommands,
	sensorCommands, repositoryCommands, fruCommands)

func index(groups ...[]command) map[commandKey]command {
	all := make(map[commandKey]command)
	for _, c := range slices.Concat(groups...) {
		all[commandKey{c.netFn, c.command}] = c
	}
	return all
}

// ServeIPMI implements ipmi.Handler. The BMC answers a command that only reads or changes memory
// before ServeIPMI returns. The Blocking serves the others; while it has requests of an interface,
// later requests of that interface wait behind them, so that no request overtakes another.
func (b *BMC) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	c, known := commands[commandKey{req.NetFn, req.Command}]
	switch {
	case req.LUN != 0:
		reply.Answer(refuse(ipmi.CodeInvalidForLUN), nil)
	case !known:
		reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
	case len(req.Data) < c.min || len(req.Data) > c.max:
		reply.Answer(refuse(ipmi.CodeLengthInvalid), nil)
	case c.speed == acts:
		b.atTurn(req, reply, b.queueAction)
	case isPasswordTest(req):
		b.atTurn(req, reply, b.testUserPassword)
	case c.speed == waits || !b.blocking.Idle(req.Interface):
		b.blocking.Queue(func(_ context.Context, req *ipmi.Request) (ipmi.Response, error) {
			return c.serve(b, req), nil
		}, req, reply)
	default:
		reply.Answer(c.serve(b, req), nil)
	}
}

// queueAction queues a request for the machine. Later requests do not wait behind it: the host may
// run again, and send requests, before the machine has answered.
func (b *BMC) queueAction(req *ipmi.Request, reply ipmi.Reply) {
	b.acting.Queue(func(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
		return b.chassisControl(ctx, req), nil
	}, req, reply)
}

// atTurn starts a request when the earlier requests of its interface have been served. Later ones
// do not wait for its end.
func (b *BMC) atTurn(req *ipmi.Request, reply ipmi.Reply, start func(*ipmi.Request, ipmi.Reply)) {
	if b.blocking.Idle(req.Interface) {
		start(req, reply)
		return
	}
	b.blocking.Queue(func(context.Context, *ipmi.Request) (ipmi.Response, error) {
		start(req, reply)
		return ipmi.Response{}, nil
	}, req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool { return err == nil || reply.Answer(res, err) }))
}

// Close waits for the requests that are queued or being served, for each at most until its
// deadline, and closes the journal. The owner of Config.Blocking closes that first. Later
// requests that may block are not served.
func (b *BMC) Close() error {
	if b.config.Blocking == nil {
		b.blocking.Close()
	}
	b.acting.Close()
	b.tests.blocking.Close()
	return b.journal.Close()
}

// refuse answers with a completion code and no data.
func refuse(c ipmi.CompletionCode) ipmi.Response { return ipmi.Response{Code: c} }

// outcome answers with the completion code of an error, CodeOK for nil.
func outcome(err error) ipmi.Response { return refuse(ipmi.CodeOf(err)) }

// answer answers with data.
func answer(data ...byte) ipmi.Response { return ipmi.Response{Data: data} }

// words are the lower 16 bits of numbers, LSB first.
func words(numbers ...int) (b []byte) {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}
