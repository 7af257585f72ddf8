package bmc

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

// asker asks a BMC without waiting, and notes the answers in their order.
type asker struct {
	t   *testing.T
	bmc *BMC
	notes
}

func (c *asker) asks(iface string, n ipmi.NetFn, cmd ipmi.Command, data string) {
	req := &ipmi.Request{
		Interface: iface, Channel: channel, NetFn: n, Command: cmd, Data: octets(data), Deadline: time.Now().Add(5 * time.Second),
	}
	c.bmc.ServeIPMI(req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
		if err != nil {
			res.Code = ipmi.CodeOf(err)
		}
		c.notes.add(fmt.Sprintf("%s %02X: %02X", iface, uint8(cmd), uint8(res.Code)))
		return true
	}))
}

func (c *asker) expect(what string, want ...string) {
	c.t.Helper()
	c.notes.expect(c.t, what, want...)
}

// slowStory runs tell with a BMC whose disk and machine are slow until the channel is closed.
func slowStory(t *testing.T, name string, tell func(c *asker, disk chan struct{}, machine *fakeMachine)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			disk, machine := make(chan struct{}), &fakeMachine{slow: make(chan struct{})}
			b := opened(t, Config{Machine: machine})
			b.onDisk(func() error { <-disk; return nil })
			tell(&asker{t: t, bmc: b}, disk, machine)
		})
	})
}

func TestRequestsKeepTheirOrder(t *testing.T) {
	const app, chassisFn = ipmi.NetFnApp, ipmi.NetFnChassis
	slowStory(t, "behind one that waits for the journal, on its interface", func(c *asker, disk chan struct{}, _ *fakeMachine) {
		c.asks("host0", app, 0x01, "")
		c.expect("before", "host0 01: 00")
		c.asks("host0", chassisFn, 0x06, "01") // Set Power Restore Policy
		c.asks("host0", app, 0x01, "")
		c.asks("host0", chassisFn, 0x06, "02")
		c.asks("host0", chassisFn, 0x01, "")
		c.asks("host1", app, 0x01, "")
		c.expect("meanwhile", "host1 01: 00")
		close(disk)
		c.expect("then", "host0 06: 00", "host0 01: 00", "host0 06: 00", "host0 01: 00")
		c.asks("host0", app, 0x01, "")
		c.expect("at once again", "host0 01: 00")
	})

	slowStory(t, "a disk that hangs holds the others up for 2 s, once", func(c *asker, disk chan struct{}, _ *fakeMachine) {
		c.asks("host0", chassisFn, 0x06, "01")
		c.asks("host0", app, 0x01, "")
		time.Sleep(diskTime - time.Millisecond)
		c.expect("before")
		time.Sleep(time.Millisecond)
		c.expect("after it", "host0 06: 00", "host0 01: 00")
		c.asks("host0", chassisFn, 0x06, "02")
		c.expect("from then on", "host0 06: 00")
		close(disk)
	})

	slowStory(t, "a machine that hangs holds up its own request and the next action", func(c *asker, _ chan struct{}, machine *fakeMachine) {
		machine.hangs = HardReset
		c.asks("host0", chassisFn, 0x02, "03")
		c.asks("host0", app, 0x01, "")
		c.asks("host0", chassisFn, 0x02, "04") // a diagnostic interrupt
		c.asks("host1", chassisFn, 0x02, "04")
		c.expect("meanwhile", "host0 01: 00", "host1 02: 00")
		close(machine.slow)
		c.expect("then", "host0 02: 00", "host0 02: 00")
		machine.did.expect(c.t, "the machine", "host1 0: diagnostic interrupt", "host0 0: hard reset", "host0 0: diagnostic interrupt")
	})

	slowStory(t, "an action comes behind what was set before, and does not wait in the way", func(c *asker, disk chan struct{}, machine *fakeMachine) {
		c.asks("host0", chassisFn, 0x06, "01")
		c.asks("host0", chassisFn, 0x02, "03")
		c.asks("host0", app, 0x01, "")
		c.expect("at once")
		close(disk)
		c.expect("when it is set", "host0 06: 00", "host0 01: 00")
		close(machine.slow)
		c.expect("when the machine has acted", "host0 02: 00")
	})

	slowStory(t, "Close waits for both", func(c *asker, disk chan struct{}, machine *fakeMachine) {
		c.asks("host0", chassisFn, 0x06, "01")
		c.asks("host1", chassisFn, 0x02, "03")
		time.AfterFunc(time.Second, func() { close(disk) })
		time.AfterFunc(2*time.Second, func() { close(machine.slow) })
		begin := time.Now()
		c.bmc.Close()
		if took := time.Since(begin); took != 2*time.Second {
			c.t.Errorf("it took %v", took)
		}
		c.expect("both", "host0 06: 00", "host1 02: 00")
		c.asks("host0", chassisFn, 0x06, "01")
		c.asks("host0", app, 0x01, "")
		c.expect("afterwards", "host0 06: CE", "host0 01: 00")
	})
}

// TestRecordsKeepTheirOrder: records of one interface stay in order on a slow disk.
func TestRecordsKeepTheirOrder(t *testing.T) {
	b := opened(t, Config{Folder: t.TempDir()})
	const count = 50
	for n := range count {
		record := make([]byte, 16)
		record[2], record[9] = 0xE0, byte(n)
		req := &ipmi.Request{Interface: host0, NetFn: ipmi.NetFnStorage, Command: 0x44, Data: record}
		b.ServeIPMI(req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
			if err != nil || res.Code != ipmi.CodeOK {
				t.Errorf("record %d: %v, %v", n, res, err)
			}
			return true
		}))
	}
	b.Close()
	if len(b.log.entries) != count {
		t.Fatalf("%d records", len(b.log.entries))
	}
	for n, e := range b.log.entries {
		if e.record[9] != byte(n) {
			t.Fatalf("record %d is % X", n, e.record)
		}
	}
}

// TestAtOnceIsAtOnce: no command of that kind waits for journal or machine.
func TestAtOnceIsAtOnce(t *testing.T) {
	data := make(map[commandKey][]string) // beside zeros
	for _, tt := range refusals {
		key := commandKey{tt.netFn, tt.command}
		data[key] = append(data[key], tt.data)
	}
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, Config{Machine: &fakeMachine{slow: make(chan struct{})}})
		b.journal.storing = true // for ever
		for key, c := range commands {
			if c.speed != atOnce {
				continue
			}
			for _, text := range append(data[key], strings.Repeat("00", c.min), strings.Repeat("00", c.max)) {
				answered := false
				b.ServeIPMI(&ipmi.Request{Interface: host0, NetFn: key.netFn, Command: key.command, Data: octets(text)},
					ipmi.ReplyFunc(func(ipmi.Response, error) bool { answered = true; return true }))
				if !answered {
					t.Errorf("netFn %02Xh command %02Xh: no answer at once", uint8(key.netFn), uint8(key.command))
				}
			}
		}
	})
}
