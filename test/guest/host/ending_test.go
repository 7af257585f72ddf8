package host

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ending is how an operating system comes to its end.
type ending struct {
	name     string
	on       systemInterface
	kernel   string    // parameters of it
	commands []string  // the last one ends the machine, sooner or later
	says     string    // the kernel
	told     []string  // the machine, by ipmbd
	tries    bool      // The driver tries that first: it and its event come twice, or once if late.
	isOff    bool      // the machine afterwards; else it boots by itself
	stays    bool      // off
	events   []string  // in the log, read after the next boot
	then     []command // in that
}

// feed starts the watchdog, or starts it again. That it is closed does not stop it.
const feed = "echo >/dev/watchdog"

var endings = []ending{
	{
		name:     "the watchdog resets",
		on:       kcs,
		commands: []string{"modprobe ipmi_watchdog timeout=2 action=reset", feed},
		told:     []string{"hard reset"},
		events:   []string{"Watchdog2 | Hard reset | Asserted"},
		then: []command{
			{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"},
			{"ipmitool mc watchdog get", 0, "Timer Expiration Flags: (0x10) * SMS/OS"},
			{"ipmitool chassis restart_cause", 0, "watchdog expired"},
		},
	},
	{
		name:     "the watchdog powers down",
		on:       kcs,
		commands: []string{"modprobe ipmi_watchdog timeout=2 action=power_off", feed},
		told:     []string{"power down"},
		isOff:    true,
		events:   []string{"Watchdog2 | Power down | Asserted"},
		then:     []command{{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"}},
	},
	{
		name:     "the watchdog power cycles",
		on:       kcs,
		commands: []string{"modprobe ipmi_watchdog timeout=2 action=power_cycle", feed},
		told:     []string{"power cycle"}, // which is a reset to QEMU
		events:   []string{"Watchdog2 | Power cycle | Asserted"},
		then: []command{
			{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"},
			{"ipmitool chassis restart_cause", 0, "watchdog expired"},
		},
	},
	{
		name: "the watchdog interrupts",
		on:   bt,
		commands: []string{
			"echo string >/sys/module/ipmi_msghandler/parameters/panic_op",
			"modprobe ipmi_watchdog timeout=200 pretimeout=198 preaction=pre_int preop=preop_panic",
			feed,
		},
		says: "Kernel panic - not syncing: Watchdog pre-timeout",
		events: []string{
			"Watchdog2 | Timer interrupt | Asserted",
			"OS Critical Stop #0x57 | Run-time critical stop | Asserted",
			"Linux kernel panic: Watchdog pr",
			"Linux kernel panic: e-timeout",
		},
	},
	{
		name:     "the watchdog makes an NMI",
		on:       kcs,
		commands: []string{"modprobe ipmi_watchdog timeout=200 pretimeout=198 preaction=pre_nmi preop=preop_panic", feed},
		says:     "Kernel panic - not syncing: pre-timeout",
		told:     []string{"diagnostic interrupt"},
		tries:    true,
		events:   []string{"Watchdog2 | Timer interrupt | Asserted"},
	},
	{
		name: "the kernel panics",
		on:   kcs,
		commands: []string{
			"echo string >/sys/module/ipmi_msghandler/parameters/panic_op",
			"echo c >/proc/sysrq-trigger",
		},
		says: "Kernel panic - not syncing: sysrq triggered crash",
		events: []string{
			"OS Critical Stop #0x73 | Run-time critical stop | Asserted",
			"Linux kernel panic: sysrq trigg",
			"Linux kernel panic: ered crash",
		},
		then: []command{
			{"ipmitool raw 0x0a 0x43 0 0 2 0 0 0xff", 0, "03 00 02 00 f0 20 00 73 79 73 72 71 20 74 72 69 67 67"},
			{"ipmitool raw 0x0a 0x43 0 0 3 0 0 0xff", 0, "ff ff 03 00 f0 20 01 65 72 65 64 20 63 72 61 73 68 00"},
		},
	},
	{
		name:     "the kernel powers down",
		on:       kcs,
		kernel:   "acpi=off", // which it would use instead
		commands: []string{"modprobe ipmi_poweroff", "poweroff -f"},
		told:     []string{"power down"},
		isOff:    true,
		stays:    true,
	},
}

// TestEndings: how a machine ends, and what its BMC knows of that
// afterwards.
func TestEndings(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d := start(t, 1)
			m := bootLasting(t, d, e.on, e.kernel)
			last := len(e.commands) - 1
			for _, c := range e.commands[:last] {
				m.prints(t, c)
			}
			m.isTold(t, e.commands[last])
			if e.isOff {
				m.isOff(t)
			} else {
				m.until(t, "the boot after "+e.commands[last], readyLine)
				m.loads(t, e.on)
			}
			if !strings.Contains(m.kernel(), e.says) {
				t.Errorf("the kernel has not said %q", e.says)
			}
			once := func(list []string) []string {
				if e.tries {
					return slices.Compact(list)
				}
				return list
			}
			if told := once(d.told()); !slices.Equal(told, e.told) {
				t.Errorf("the machine was told to %q, want %q", told, e.told)
			}
			if e.stays {
				return
			}
			if e.isOff {
				m = bootLasting(t, d, e.on, "")
			}
			if events := once(m.events(t)); !slices.Equal(events, e.events) {
				t.Errorf("the event log has %q, want %q", events, e.events)
			}
			for _, c := range e.then {
				m.has(t, c)
			}
		})
	}
}

// TestFedWatchdog: it does not expire, not even after its pre-timeout.
func TestFedWatchdog(t *testing.T) {
	t.Parallel()
	d := start(t, 1)
	m := bootLasting(t, d, kcs, "")
	stopped := command{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"}

	// Three times its timeout.
	m.prints(t, "modprobe ipmi_watchdog timeout=5 action=reset")
	m.has(t, command{"exec 3>/dev/watchdog; now() { cut -d. -f1 /proc/uptime; }; end=$(($(now) + 16)); " +
		"while [ $(now) -lt $end ]; do echo >&3; usleep 500000; done; ipmitool mc watchdog get; printf V >&3",
		0, "Watchdog Timer Is: Started/Running"})
	m.has(t, stopped)
	if events := m.events(t); events != nil {
		t.Errorf("it has expired: %q", events)
	}

	// The program that reads gets the time-out, and again after it has reset the watchdog.
	m.prints(t, "rmmod ipmi_watchdog")
	m.prints(t, "modprobe ipmi_watchdog timeout=62 pretimeout=60 preaction=pre_int preop=preop_give_data action=reset")
	m.has(t, command{"exec 3<>/dev/watchdog; for i in 1 2; do echo >&3; head -c 1 <&3 | wc -c; done; printf V >&3", 0, "1 1"})
	m.has(t, stopped)
	m.has(t, command{"ipmitool mc watchdog get", 0, "Timer Expiration Flags: None"})
	if events := m.events(t); !slices.Equal(events, []string{"Watchdog2 | Timer interrupt | Asserted", "Watchdog2 | Timer interrupt | Asserted"}) {
		t.Errorf("the event log has %q", events)
	}
	if told := d.told(); told != nil {
		t.Errorf("the machine was told to %q", told)
	}
}

// bootLasting boots a machine that a reset does not end, with parameters of its
// kernel, and loads its driver.
func bootLasting(t *testing.T, d *daemon, kind systemInterface, kernel string) *machine {
	t.Helper()
	before := d.hosts()
	m := boot(t, kind, d.sockets[0], "-action", "reboot=reset", "-append", kernelCommandLine+" "+kernel)
	m.until(t, "boot", readyLine)
	eventually(t, "the connection of the machine", func() bool { return d.hosts() > before })
	m.loads(t, kind)
	return m
}

// told returns the actions that the daemon has requested of its machines.
func (d *daemon) told() (actions []string) {
	for _, match := range orders.FindAllStringSubmatch(d.log.String(), -1) {
		actions = append(actions, match[1])
	}
	return actions
}

var orders = regexp.MustCompile(`machine is told to\s+{"action": "([^"]*)"`)

// events are those in the event log.
func (m *machine) events(t *testing.T) (events []string) {
	t.Helper()
	for line := range strings.Lines(m.prints(t, "ipmitool sel list 2>/dev/null")) {
		if record.MatchString(line) {
			events = append(events, strings.TrimSpace(record.ReplaceAllString(line, "")))
		}
	}
	return events
}

// record is how ipmitool begins one: with its number and perhaps a time.
var record = regexp.MustCompile(`^ *[0-9a-f]+ \| (\S+ \| \S+ UTC \| )?`)
