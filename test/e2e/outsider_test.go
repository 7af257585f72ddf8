package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
)

// outsiderVariable in the environment makes the test's program one of outsiders: a process of its
// own, and of another user if a test needs that. The daemon counts programs and users, not
// connections.
const outsiderVariable = "IPMBD_TEST_OUTSIDER"

// outsiders are the programs that this one can be. They are ready when they return; pause reports
// that earlier, and returns when the test wants them to go on.
var outsiders = map[string]func(args []string, pause func()) error{
	"calls":       hogByCalls,
	"frames":      hogByFrames,
	"idle-frames": idleOnFrames,
	"handlers":    hangingHandlers,
	"reads":       floodOfReads,
	"patterns":    manyPatterns,
	"watched":     beWatched,
}

// beOutsider is main of an outsider.
func beOutsider(name string) int {
	in := bufio.NewReader(os.Stdin)
	pause := func() {
		fmt.Println("ready")
		if _, err := in.ReadString('\n'); err != nil {
			os.Exit(0) // The test has ended.
		}
	}
	if err := outsiders[name](os.Args[1:], pause); err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		pause()
	}
}

// outsider is such a process.
type outsider struct {
	cmd   *exec.Cmd
	stdin io.Writer
	lines chan string
}

// runOutsider starts an outsider of a user and waits until it is ready. It ends with
// the test.
func runOutsider(t testing.TB, uid int, name string, args ...any) *outsider {
	t.Helper()
	o := &outsider{cmd: exec.Command("/proc/self/exe"), lines: make(chan string, 16)}
	for _, arg := range args {
		o.cmd.Args = append(o.cmd.Args, fmt.Sprint(arg))
	}
	o.cmd.Env = append(os.Environ(), outsiderVariable+"="+name)
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != os.Geteuid() {
		o.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	stdin, err := o.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	o.stdin, o.cmd.Stderr = stdin, os.Stderr
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.end)
	go func() {
		defer close(o.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			o.lines <- lines.Text()
		}
	}()
	o.ready(t)
	return o
}

// ready waits until the outsider has done its work.
func (o *outsider) ready(t testing.TB) {
	t.Helper()
	if line := receive(t, "an outsider's word", o.lines); line != "ready" {
		t.Fatalf("an outsider failed: %s", line)
	}
}

// next has the outsider go on, and waits until it is ready again.
func (o *outsider) next(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(o.stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	o.ready(t)
}

// end ends the process. It may be called more than once.
func (o *outsider) end() {
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
}

// number is an argument that is one.
func number(arg string) int {
	n, err := strconv.Atoi(arg)
	if err != nil {
		panic(err)
	}
	return n
}

// hogByCalls makes calls to responders of bus5 that are absent, as many as it is let,
// on some connections: address, connections, calls on each, time-out in milliseconds,
// tries.
func hogByCalls(args []string, _ func()) error {
	for range number(args[1]) {
		conn, err := dbus.Connect(args[0])
		if err != nil {
			return err
		}
		c := client{conn}
		for i := range number(args[2]) {
			o := options{"timeout-ms": uint32(number(args[3])), "tries": uint32(number(args[4]))}
			c.sendWith("bus5", o, absentResponder(i), 6, byte(i))
		}
		// The answer to this, be it an error, comes after all earlier messages were taken.
		_, _ = c.Object(service, busPath("bus5")).GetProperty(objectIface + ".State")
	}
	return nil
}

// absentResponder is one of 40 addresses without a node.
func absentResponder(i int) byte { return 0x50 + 2*byte(i%40) }

// hogByFrames is hogByCalls on the frame socket: path, connections, requests on each.
// It is content with fewer connections.
func hogByFrames(args []string, _ func()) error {
	for range number(args[1]) {
		conn, err := net.Dial("unixpacket", args[0])
		if err != nil {
			return err
		}
		for i := range number(args[2]) {
			p := packet{to: absentResponder(i), netFn: 6, from: 0x81, number: byte(i) & 63, cmd: byte(i)}
			if _, err := conn.Write(append([]byte{1}, p.bytes()...)); err != nil {
				break
			}
		}
		// Of a bus that does not exist the daemon says so at once, and in order.
		const noBus = 0xFC
		if _, err := conn.Write(append([]byte{noBus}, packet{to: 0x2C}.bytes()...)); err != nil {
			continue
		}
		for answer := make([]byte, 2048); answer[0] != noBus; {
			if _, err := conn.Read(answer); err != nil {
				break
			}
		}
	}
	return nil
}

// idleOnFrames connects to the frame socket and is silent: path, connections.
func idleOnFrames(args []string, _ func()) error {
	for range number(args[1]) {
		if _, err := net.Dial("unixpacket", args[0]); err != nil {
			return err
		}
	}
	return nil
}

// hangingHandlers registers handlers that do not answer, each on a connection of its
// own, for commands of netFn 30h: address, first command, connections.
func hangingHandlers(args []string, _ func()) error {
	for i := range number(args[2]) {
		conn, err := dbus.Connect(args[0])
		if err != nil {
			return err
		}
		rows := []commands{command(0x30, byte(number(args[1])+i))}
		if err := conn.Object(service, basePath).Call(router+".RegisterHandler", 0, dbus.ObjectPath("/hangs"), rows).Err; err != nil {
			return err
		}
		conn.Eavesdrop(make(chan *dbus.Message, maxInbox)) // Calls go there and get no answer.
	}
	return nil
}
