package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
)

// wireVariable in the environment is how many requests each test on a wire makes.
const wireVariable = "WIRE_REQUESTS"

// wireRequests is the number without the variable: a few seconds of wire.
var wireRequests = testmain.Amount(700, 2500)

// copyTime is how long after an answer ipmbd knows its copy on I2C.
const copyTime = 40 * time.Millisecond

// latestCopy is how long after an answer its copy may come. Without the variable the
// machine may be busy with other tests, and a daemon that reads late takes the gap for a
// longer one.
var latestCopy = 15 * time.Millisecond

func readWireRequests() (err error) {
	if text := os.Getenv(wireVariable); text != "" {
		if wireRequests, err = strconv.Atoi(text); err != nil || wireRequests < 1 {
			return fmt.Errorf("%s: %q is no number of requests", wireVariable, text)
		}
		latestCopy = 35 * time.Millisecond
	}
	return nil
}

// byteTime is the time of a byte with its acknowledgement at 100 kHz.
const byteTime = 9 * 10 * time.Microsecond

// slowWire is a bus that carries one frame at a time, as fast as one of 100 kHz, to the node at
// the frame's destination.
type slowWire struct {
	frames chan []byte // not carried so far
	end    <-chan struct{}

	mu    sync.Mutex
	at    map[byte]func(frame []byte)
	fates *rand.Rand
	// doubled is when an answer was first on the wire that comes again, by its data.
	doubled map[string]time.Time
	// fate says how often a frame that the wire has carried arrives, and how long after it a copy
	// follows.
	fate func(r *rand.Rand, frame packet) (arrives int, later time.Duration)
}

// newSlowWire makes a wire, which lasts as long as its test.
func newSlowWire(t testing.TB, fate func(*rand.Rand, packet) (int, time.Duration)) *slowWire {
	w := &slowWire{
		frames: make(chan []byte, maxInbox), end: t.Context().Done(),
		at: make(map[byte]func([]byte)), fates: chance(t), fate: fate, doubled: make(map[string]time.Time),
	}
	go w.run()
	return w
}

// attach puts a daemon's bus on the wire, at an address.
func (w *slowWire) attach(n *node, address byte) {
	w.put(address, func(frame []byte) { n.write(frame) })
	go func() {
		for {
			select {
			case frame := <-n.inbox:
				w.frames <- frame
			case <-w.end:
				return
			}
		}
	}()
}

// put puts something at an address.
func (w *slowWire) put(address byte, take func(frame []byte)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[address] = take
}

// run carries frames. A frame occupies the wire from when it is free; a machine that
// wakes this goroutine late makes the wire no slower.
func (w *slowWire) run() {
	var free time.Time
	for {
		select {
		case frame := <-w.frames:
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(len(frame)) * byteTime)
			<-time.After(time.Until(free)) // the time that the frame takes
			w.deliver(frame)
		case <-w.end:
			return
		}
	}
}

func (w *slowWire) deliver(frame []byte) {
	p, ok := unpack(frame)
	w.mu.Lock()
	take := w.at[p.to]
	w.mu.Unlock()
	if !ok || take == nil {
		return
	}
	arrives, later := w.fate(w.fates, p)
	if arrives > 1 {
		w.mu.Lock()
		w.doubled[string(p.data[1:])] = time.Now()
		w.mu.Unlock()
	}
	if arrives > 0 {
		take(frame)
	}
	if arrives > 1 {
		came := time.Now()
		time.AfterFunc(later, func() {
			if time.Since(came) <= latestCopy {
				take(frame)
			}
		})
	}
}

// sinceDoubled is how long ago an answer that comes again was first on the wire; 0 if it comes
// once.
func (w *slowWire) sinceDoubled(data []byte) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first, ok := w.doubled[string(data)]; ok {
		return time.Since(first)
	}
	return 0
}

// doubles is a wire's fate that doubles answers with a probability.
func doubles(probability float64) func(*rand.Rand, packet) (int, time.Duration) {
	return func(r *rand.Rand, p packet) (int, time.Duration) {
		if p.isResponse() && r.Float64() < probability {
			return 2, time.Duration(r.Int64N(int64(latestCopy)))
		}
		return 1, 0
	}
}

// loses is a wire's fate that loses answers with a probability.
func loses(probability float64) func(*rand.Rand, packet) (int, time.Duration) {
	return func(r *rand.Rand, p packet) (int, time.Duration) {
		if p.isResponse() && r.Float64() < probability {
			return 0, 0
		}
		return 1, 0
	}
}

// TestDoubledAnswersReachNoOtherCall: 64 calls in flight on a wire of 100 kHz that
// doubles 5 % of the answers. Each answer that a call gets is its own.
//
// It runs before the parallel tests, and on a daemon without the race detector. If other processes
// still delay the daemon or the terminal, a copy comes later than the daemon promises to recognize
// it. Then it may answer another call, whose own answer is left for the next call with the number,
// and so on: that is no fault.
func TestDoubledAnswersReachNoOtherCall(t *testing.T) {
	const inFlight = 64
	bus, w := bustest.Start(t), newSlowWire(t, doubles(0.05))
	device := newTerminal(t, func(frame []byte) { w.frames <- frame })
	w.put(0x20, device.write)
	w.put(0x2C, func(frame []byte) {
		asked := mustUnpack(t, frame)
		w.frames <- asked.answer(0, asked.data...).bytes()
	})
	plain, err := plainProgram()
	if err != nil {
		t.Fatal(err)
	}
	config := configFile(t, channels(device.channel("bus5", object{"handler": "none", "timeout-ms": 2000})))
	launchCommand(t, exec.Command(plain, "--bus", bus.Address, "--config", config)).ready(t)
	c := connect(t, bus.Address)
	done := make(chan *dbus.Call, inFlight)
	places := make(map[*dbus.Call]uint64)
	made := 0
	call := func() {
		made++
		tag := tagged(uint64(made))
		path, method, first := busPath("bus5"), objectIface, byte(0x2C)
		if made%2 == 0 { // By the old method, which waits for no number.
			path, method, first = basePath, legacy, 1
		}
		places[c.Object(service, path).Go(method+".sendRequest", dbus.FlagNoAutoStart, done, first, byte(0x30), byte(0), byte(1), tag)] = uint64(made)
	}
	for range min(inFlight, wireRequests) {
		call()
	}
	var ended outcomes
	wrong, misled := "", make(map[string]bool) // calls with data that are not theirs, by their own
	for len(places) > 0 {
		x := receive(t, "the end of a call", done)
		n := places[x]
		delete(places, x)
		how, data := endOf(x)
		if how == "answered" && !bytes.Equal(data, tagged(n)) {
			misled[string(tagged(n))] = true
			switch after := w.sinceDoubled(data); {
			case misled[string(data)]:
				how = "answered with the data that a call did not get"
			case after > copyTime:
				how = "answered by a copy that came too late"
			default:
				how = "answered with another call's data"
				wrong = fmt.Sprintf("call %d was answered with the data % X, %v after these were first on the bus", n, data, after)
			}
		}
		ended.add(how)
		if made < wireRequests {
			call()
		}
	}
	t.Log(ended.counts)
	if wrong != "" {
		t.Errorf("%v; the last: %s", ended.counts, wrong)
	}
	if ended.counts["answered"] < wireRequests/2 {
		t.Errorf("of %d calls few were answered: %v", wireRequests, ended.counts)
	}
}

// endOf says how a call of a method that sends has ended, and with what data.
func endOf(call *dbus.Call) (how string, data []byte) {
	if call.Err != nil {
		return errorName(call.Err), nil
	}
	if call.Method == legacy+".sendRequest" {
		var a legacyAnswer
		if err := call.Store(&a); err != nil || a.Status != 0 {
			return fmt.Sprintf("status %d %v", a.Status, err), nil
		}
		return "answered", a.Data
	}
	var code byte
	if err := call.Store(&code, &data); err != nil || code != 0 {
		return fmt.Sprintf("completion code %02Xh %v", code, err), nil
	}
	return "answered", data
}

// TestRequestsRunOnceOnALossyWire: two daemons on a wire of 100 kHz that loses 1 % of
// the answers, Add SEL Entry with 4 in flight. There is one record for each request.
func TestRequestsRunOnceOnALossyWire(t *testing.T) {
	t.Parallel()
	const inFlight = 4
	asks, serves := bustest.Start(t), bustest.Start(t)
	a, b := listen(t, "ipmb-5"), listen(t, "ipmb-6")
	w := newSlowWire(t, loses(0.01))
	w.attach(a, 0x20)
	w.attach(b, 0x22)
	// Many tries: a machine that is busy with other tests makes no call end.
	start(t, asks.Address, channels(channel(a, object{
		"handler": "none", "bmc-addr": 0x20, "remote-addr": 0x22, "tries": 64})))
	config := channels(channel(b, object{"handler": "bmc", "bmc-addr": 0x22, "remote-addr": 0x20}))
	config["bmc"] = object{"log-capacity": min(65535, wireRequests*3/2)}
	start(t, serves.Address, config)
	for _, n := range []*node{a, b} {
		eventually(t, "a connection to "+n.path, func() bool { return n.connections() == 1 })
	}

	c := connect(t, asks.Address)
	done := make(chan *dbus.Call, inFlight)
	made := 0
	call := func() {
		made++
		c.Object(service, busPath("bus5")).Go(objectIface+".sendRequest", dbus.FlagNoAutoStart, done,
			byte(0), byte(0x0A), byte(0), byte(0x44), selRecord(made))
	}
	for range min(inFlight, wireRequests) {
		call()
	}
	for range wireRequests {
		if how, _ := endOf(receive(t, "the end of a call", done)); how != "answered" {
			t.Fatalf("a call ended with %s", how)
		}
		if made < wireRequests {
			call()
		}
	}
	records := selRecords(t, connect(t, serves.Address))
	twice, missing := 0, 0
	for n := 1; n <= wireRequests; n++ {
		switch times := records[n]; {
		case times == 0:
			missing++
		case times > 1:
			twice += times - 1
		}
	}
	if twice+missing > 0 {
		t.Errorf("%d requests with %d in flight, 1 %% of the answers lost: %d records too many, %d missing",
			wireRequests, inFlight, twice, missing)
	}
}

// selRecord is a record of the event log, the n-th of a test.
func selRecord(n int) []byte {
	return []byte{0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, byte(n), 1, byte(n >> 8), byte(n >> 16), 0x77}
}

// selRecords reads a daemon's event log: how often it has the n-th record.
func selRecords(t testing.TB, c client) map[int]int {
	t.Helper()
	records := make(map[int]int)
	const last = 0xFFFF
	for next := uint16(0); next != last; {
		read := []byte{0, 0, byte(next), byte(next >> 8), 0, 0xFF}
		code, data := answered(t, c.call(basePath, router+".SendStorageRequest", byte(0x43), read))
		if code != 0 {
			t.Fatalf("Get SEL Entry of %04Xh: %02Xh", next, code)
		}
		next = binary.LittleEndian.Uint16(data)
		record := data[2:]
		records[int(record[11])|int(record[13])<<8|int(record[14])<<16]++
	}
	return records
}
