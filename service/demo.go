package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// Addresses on the buses of the demonstration.
const (
	demoSatellite ipmi.Address = 0x2C // answers
	demoSilent    ipmi.Address = 0x42 // takes requests and never answers
)

// demoAsk is the OEM command that makes a satellite send a request to the BMC and return its
// response. Its data are netFn, command and data of the request; without data it sends Get Device
// ID.
const demoAsk ipmi.Command = 0x01

// demoFaults are the faults of the responses on the faulty bus.
var demoFaults = sim.Faults{
	Seed: 1, Drop: 0.20, Duplicate: 0.10, Corrupt: 0.10, NotAcknowledge: 0.05, LoseArbitration: 0.05,
	Delay: 0.10, DelayMin: 10 * time.Millisecond, DelayMax: 300 * time.Millisecond,
}

// demo is the demonstration: two simulated buses, and satellites that use the daemon's engine.
type demo struct {
	buses      map[string]*sim.Bus // by the names of DemoConfig
	satellites []*satellite
}

// DemoConfig is the configuration of the demonstration: bus0, a healthy bus with a satellite at
// 2Ch and a silent responder at 42h, and bus1, where the satellite at 2Ch has faults. The built-in
// BMC serves the requests from both, and bridges between them.
func DemoConfig() config.Config {
	channel := func(name string, host int) config.Channel {
		return config.Channel{
			Type: config.TypeME, SlavePath: simulated + name, RemoteAddress: demoSatellite, DevIndex: host,
			Name: name, IPMIChannel: new(ipmi.Channel(host)), Handler: config.HandlerBMC,
		}
	}
	return config.Config{Channels: []config.Channel{channel("bus0", 0), channel("bus1", 1)}}
}

// satellite is a controller on a simulated bus: an engine that serves and sends Get Device ID.
type satellite struct {
	engine    *ipmb.Engine
	transport i2c.Transport
}

func newDemo() (*demo, error) {
	d := &demo{buses: make(map[string]*sim.Bus)}
	for name, faults := range map[string]sim.Faults{"bus0": {}, "bus1": demoFaults} {
		bus := sim.NewBus()
		d.buses[name] = bus
		t, err := bus.Attach(uint8(demoSatellite))
		if err != nil {
			return nil, fmt.Errorf("demonstration: %w", err)
		}
		s := &satellite{transport: sim.Inject(t, faults)}
		s.engine = ipmb.New(ipmb.Config{Address: demoSatellite, Interface: name, Handler: s})
		d.satellites = append(d.satellites, s)
		if err := bus.Respond(uint8(demoSilent), func([]byte, func([]byte)) {}); err != nil {
			return nil, fmt.Errorf("demonstration: %w", err)
		}
	}
	return d, nil
}

// simulated begins the path of a simulated bus.
const simulated = "/simulated/"

// opener opens the bus of a channel if that is a simulated one, and else is nil.
func (d *demo) opener(ch config.Channel) func() (i2c.Transport, error) {
	if d == nil || d.buses[ch.Name] == nil || ch.SlavePath != simulated+ch.Name {
		return nil
	}
	return func() (i2c.Transport, error) { return d.buses[ch.Name].Attach(uint8(ch.BMCAddress)) }
}

// run runs the satellites until ctx ends.
func (d *demo) run(ctx context.Context) {
	var loops sync.WaitGroup
	for _, s := range d.satellites {
		loops.Go(func() { _ = s.engine.Run(ctx, s.transport) })
	}
	loops.Wait()
}

func (s *satellite) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	switch {
	case req.NetFn == ipmi.NetFnApp && req.Command == ipmi.CommandGetDeviceID:
		reply.Answer(ipmi.Response{Data: satelliteID}, nil)
	case req.NetFn == demoNetFn && req.Command == demoAsk:
		s.ask(req, reply)
	default:
		reply.Answer(ipmi.Response{}, ipmi.ErrNoHandler)
	}
}

// ask sends the request that demoAsk asks for, and responds with the response of the requester.
func (s *satellite) ask(req *ipmi.Request, reply ipmi.Reply) {
	ask := ipmb.Request{Responder: req.Requester, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID}
	if d := req.Data; len(d) >= 2 {
		ask.NetFn, ask.Command, ask.Data = ipmi.NetFn(d[0]), ipmi.Command(d[1]), d[2:]
	}
	answer := func(res ipmi.Response, err error) { reply.Answer(res, err) }
	if err := s.engine.Send(ipmb.NewCall(answer), &ask); err != nil {
		reply.Answer(ipmi.Response{}, err)
	}
}

// demoNetFn is the first of the controllers' own network functions.
const demoNetFn ipmi.NetFn = 0x30

// satelliteID is the response to Get Device ID (IPMI v2.0, section 20.1): device ID and revision,
// firmware revision, IPMI 2.0, supported functions, manufacturer 000157h, product.
var satelliteID = []byte{0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B}
