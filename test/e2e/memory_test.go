package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/build"
	"ipmbd/units"
)

// mostMemory is the most that the daemon may ever have had resident, in KiB, with
// manyBuses.
const (
	mostMemory = 40 << 10
	manyBuses  = 32
)

// plainProgram is the daemon without the race detector, which uses memory of its own.
var plainProgram = sync.OnceValues(func() (string, error) {
	if !race {
		return program, nil
	}
	dir := filepath.Join(filepath.Dir(program), "plain")
	return filepath.Join(dir, "ipmbd"), build.Daemon(dir)
})

// daemonUID is the user daemon of all Unix systems: a message bus accepts only users with names.
const daemonUID = 1

// looked is a daemon with manyBuses, and a user that may only read: nobody, on a bus with the
// policy that is installed, if the test runs as root, else the test's own user on a bus without
// a policy.
type looked struct {
	bus    *bustest.Bus
	daemon *daemon
	nodes  []*node
	client client // of the test's own user
	uid    int    // of the user that may only read
}

func startLooked(t *testing.T) *looked {
	t.Helper()
	l := &looked{uid: os.Geteuid()}
	config := bustest.Config{Limits: map[string]int{"max_connections_per_user": 1000, "max_replies_per_connection": 1000}}
	if l.uid == 0 {
		l.uid = nobody
		// As a system's policy, but that the test may do all: it has programs to register.
		policy := strings.ReplaceAll(string(units.Policy), `group="ipmbd"`, `user="daemon"`)
		config.System, config.Policies = true, []string{writeFile(t, "ipmbd.conf", policy)}
	}
	l.bus = bustest.StartConfig(t, config)
	var all []object
	for i := range manyBuses {
		n := listen(t, fmt.Sprint("ipmb-", i))
		n.respond(0x2C, echo)
		l.nodes = append(l.nodes, n)
		all = append(all, channel(n, object{"handler": "bmc", "devIndex": i}))
	}
	plain, err := plainProgram()
	if err != nil {
		t.Fatal(err)
	}
	l.daemon = launchCommand(t, exec.Command(plain, "--bus", l.bus.Address, "--config", configFile(t, channels(all...))))
	l.daemon.ready(t)
	l.client = connect(t, l.bus.Address)
	return l
}

// serves fails the test if the daemon does not send a request.
func (l *looked) serves(t testing.TB) {
	t.Helper()
	for i := range manyBuses {
		data := byte(i)
		if got := l.client.legacy(t, byte(i)<<2|1, 0x30, 0, 1, data); got.Status != 0 || got.Data[0] != data {
			t.Fatalf("a request on bus %d meanwhile: %+v", i, got)
		}
	}
}

// isSmall fails the test if the daemon has ever had too much memory.
func (l *looked) isSmall(t testing.TB, when string) {
	t.Helper()
	if peak := l.daemon.peakMemory(t); peak > mostMemory {
		t.Errorf("%s: the daemon has had %d KiB resident, more than %d", when, peak, mostMemory)
	}
}

// peakMemory is the most memory that the daemon has had resident, in KiB.
func (d *daemon) peakMemory(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	peak, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return peak
}

// reads are the methods that anybody may call, at objects where they are dear.
var reads = map[string]struct {
	path   dbus.ObjectPath
	method string
	args   []any
}{
	"Ping":              {basePath, "org.freedesktop.DBus.Peer.Ping", nil},
	"Introspect":        {basePath + "/bus0", "org.freedesktop.DBus.Introspectable.Introspect", nil},
	"GetManagedObjects": {"/", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", nil},
	"GetAll of a bus":   {basePath + "/bus0", "org.freedesktop.DBus.Properties.GetAll", []any{objectIface}},
	"GetStatistics":     {basePath + "/bus0", objectIface + ".GetStatistics", nil},
	"GetAll of Router":  {basePath, "org.freedesktop.DBus.Properties.GetAll", []any{router}},
}

// floodOfReads calls one of reads on some connections and reads no answers: address,
// name, connections, calls on each. When it goes on it reads them all. The answers
// must be less than 127 MB: a dbus-daemon that holds more of one sender's messages
// reads no further ones from it (max_incoming_bytes).
func floodOfReads(args []string, pause func()) error {
	read := reads[args[1]]
	var conns []*rawConn
	for range number(args[2]) {
		c, err := dialRaw(args[0])
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	calls := number(args[3])
	for range calls {
		for _, c := range conns {
			if _, err := c.send(service, 0, read.path, read.method, read.args...); err != nil {
				return err
			}
		}
	}
	pause()
	ended := make(chan error, len(conns))
	for _, c := range conns {
		go func() { ended <- c.skipReplies(calls) }()
	}
	for range conns {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// manyPatterns registers as many commands of a channel as a program may, with long paths:
// address, channel.
func manyPatterns(args []string, _ func()) error {
	channel, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn, err := dbus.Connect(args[0])
	if err != nil {
		return err
	}
	for h := range 8 {
		var rows []commands
		for cmd := range byte(255) {
			rows = append(rows, commands{0x30 + 2*byte(h), cmd, anyGroup, 1 << channel})
		}
		path := dbus.ObjectPath(fmt.Sprintf("/h%02d%s", h, strings.Repeat("x", 250)))
		if err := conn.Object(service, basePath).Call(router+".RegisterHandler", 0, path, rows).Err; err != nil {
			return err
		}
	}
	return nil
}

// TestMemoryWhileAnybodyReads: a user that may only read makes thousands of calls and does not
// read the replies. The daemon stays small, serves others meanwhile, and stops.
func TestMemoryWhileAnybodyReads(t *testing.T) {
	t.Parallel()
	l := startLooked(t)
	l.isSmall(t, "at its start")
	for _, what := range []string{"Ping", "Introspect", "GetAll of a bus", "GetStatistics", "GetManagedObjects"} {
		flood := runOutsider(t, l.uid, "reads", l.bus.Address, what, 30, 50)
		l.serves(t)
		flood.next(t)
		l.isSmall(t, what)
		flood.end()
	}
	// And with a flood under way.
	runOutsider(t, l.uid, "reads", l.bus.Address, "GetManagedObjects", 30, 50)
	l.daemon.stopped(t)
}

// TestMemoryWhileALongPropertyIsRead: programs that may register handlers have
// registered thousands of commands, and another program reads the list again and again.
func TestMemoryWhileALongPropertyIsRead(t *testing.T) {
	t.Parallel()
	l := startLooked(t)
	uid := os.Geteuid()
	if uid == 0 {
		runOutsider(t, uid, "patterns", l.bus.Address, 1) // Half of them are for other users.
		uid = daemonUID                                   // The policy names this user in place of a group.
	}
	runOutsider(t, uid, "patterns", l.bus.Address, 0)
	l.isSmall(t, "with as many commands registered as there may be")
	flood := runOutsider(t, l.uid, "reads", l.bus.Address, "GetAll of Router", 5, 16)
	l.serves(t)
	flood.next(t)
	l.isSmall(t, "with the list of commands read 80 times")
	l.daemon.stopped(t)
}
