package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/socket"
	"ipmbd/ipmi"
)

// timeLimit is how long a test waits for an event.
const timeLimit = 30 * time.Second

// machine is the far end of a VM's socket: QEMU.
type machine struct {
	t    *testing.T
	conn net.Conn
}

// connectMachine connects and greets.
func connectMachine(t *testing.T, address net.Addr) *machine {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &machine{t, conn}
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		t.Fatal(err)
	}
	m.says("FF 01 A1 08 3F A1")
	return m
}

func (m *machine) says(text string) {
	m.t.Helper()
	if _, err := m.conn.Write(octets(text)); err != nil {
		m.t.Fatal(err)
	}
}

// hears checks the bytes that come next.
func (m *machine) hears(text string) {
	m.t.Helper()
	want := octets(text)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(m.conn, got); err != nil || !bytes.Equal(got, want) {
		m.t.Fatalf("heard % X, %v; want %s", got[:n], err, text)
	}
}

// runVM runs the interface of a machine until the test ends.
func runVM(t *testing.T, config Config) (*VM, net.Addr, <-chan VMEvent) {
	t.Helper()
	return runVMAt(t, "unix:"+filepath.Join(t.TempDir(), "vm"), config)
}

func runVMAt(t *testing.T, address string, config Config) (*VM, net.Addr, <-chan VMEvent) {
	t.Helper()
	happened := make(chan VMEvent, 100)
	v := NewVM(config, func(e VMEvent) { happened <- e })
	listener, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return v, listener.Addr(), happened
}

func TestMachineThatComesAndGoes(t *testing.T) {
	_, address, happened := runVM(t, Config{Handler: echo})
	for range 3 {
		m := connectMachine(t, address)
		m.hears("FF 01 A1 00 A1")
		m.says("01 18 01 E6 A0")
		m.hears("01 1C 01 00 E2 A0")
		m.says("04 A1")
		m.conn.Close()
		for _, want := range []VMEvent{VMConnected, VMWasReset, VMGone} {
			if got := <-happened; got != want {
				t.Fatalf("happened: %v, want %v", got, want)
			}
		}
	}
}

func TestMachineIsShownTheAttentionAndItsInterrupts(t *testing.T) {
	attention := make(chan ipmi.Attention, 1)
	var now ipmi.Attention
	v, address, _ := runVM(t, Config{Handler: echo, Attention: func() ipmi.Attention {
		select {
		case now = <-attention:
		default:
		}
		return now
	}})
	attention <- ipmi.Attention{Raised: true, Interrupts: true}
	m := connectMachine(t, address)
	m.hears("FF 01 A1 05 A1 01 A1")
	for _, step := range []struct {
		attention ipmi.Attention
		want      string
	}{
		{ipmi.Attention{Raised: true, Interrupt: true, Interrupts: true}, "02 A1"},
		{ipmi.Attention{Interrupts: true}, "00 A1"},
		{ipmi.Attention{}, "06 A1 00 A1"},
	} {
		attention <- step.attention
		v.Loop().AttentionChanged()
		m.hears(step.want)
	}
}

func TestGarbageFromAMachineDoesNoHarm(t *testing.T) {
	_, address, _ := runVM(t, Config{Handler: echo})
	m := connectMachine(t, address)
	m.hears("FF 01 A1 00 A1")
	m.says("01 18 01 E7 A0") // wrong checksum: no answer, QEMU times out
	m.says("A0 A1 AA AA A0 08 A1 04 A1 77 A1")
	if _, err := m.conn.Write(append(bytes.Repeat([]byte{0x55}, 100_000), vmEndOfMessage)); err != nil {
		t.Fatal(err)
	}
	m.says("02 18 01")
	m.says("E5 A0")
	m.hears("02 1C 01 00 E1 A0")
}

func TestOneMachineAtATime(t *testing.T) {
	_, address, _ := runVM(t, Config{Handler: echo})
	first := connectMachine(t, address)
	first.hears("FF 01 A1 00 A1")
	second := connectMachine(t, address)
	if _, err := io.ReadAll(second.conn); err != nil && !errors.Is(err, io.EOF) && !os.IsTimeout(err) {
		t.Logf("the second: %v", err)
	}
	first.says("01 18 01 E6 A0")
	first.hears("01 1C 01 00 E2 A0")
}

func TestActionsOnAMachine(t *testing.T) {
	v, address, _ := runVM(t, Config{Handler: echo})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Act(gone, VMReset); !errors.Is(err, ErrUnsupported) {
		t.Errorf("nobody is connected: %v", err)
	}
	m := connectMachine(t, address)
	m.hears("FF 01 A1 00 A1")
	m.says("01 18 01 E6 A0") // its capabilities have come before
	m.hears("01 1C 01 00 E2 A0")
	for action, want := range map[VMAction]string{VMPowerOff: "03 A1", VMReset: "04 A1", VMNMI: "07 A1", VMShutdown: "09 A1"} {
		if err := v.Act(t.Context(), action); err != nil {
			t.Error(err)
		}
		m.hears(want)
	}
	m.says("08 04 A1 02 18 01 E5 A0") // no more than interrupts
	m.hears("02 1C 01 00 E1 A0")
	if err := v.Act(t.Context(), VMReset); !errors.Is(err, ErrUnsupported) {
		t.Errorf("without the capability: %v", err)
	}
}

func TestMachineThatReadsNothingIsGivenUp(t *testing.T) {
	for _, address := range []string{"unix:" + filepath.Join(t.TempDir(), "vm"), "tcp:127.0.0.1:0"} {
		t.Run(address[:4], func(t *testing.T) {
			t.Parallel()
			big := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
				return ipmi.Response{Data: make([]byte, VMMaxData)}, nil
			})
			_, address, happened := runVMAt(t, address, Config{Handler: big})
			m := connectMachine(t, address)
			<-happened
			begin := time.Now()
			var err error
			for many := bytes.Repeat(octets("01 18 01 E6 A0"), 1000); err == nil; {
				_, err = m.conn.Write(many)
			}
			if <-happened != VMGone || time.Since(begin) < vmWriteTimeout || os.IsTimeout(err) {
				t.Errorf("given up after %v: %v", time.Since(begin), err)
			}
			second := connectMachine(t, address)
			second.hears("FF 01 A1 00 A1")
		})
	}
}

func TestEndWhileAMachineReadsNothing(t *testing.T) {
	listener, err := Listen(t.Context(), "unix:"+filepath.Join(t.TempDir(), "vm"))
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan struct{}, 1)
	v := NewVM(Config{Handler: ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		select {
		case answers <- struct{}{}:
		default:
		}
		return ipmi.Response{Data: make([]byte, VMMaxData)}, nil
	})}, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, listener) }()
	m := connectMachine(t, listener.Addr())
	go func() {
		for many := bytes.Repeat(octets("01 18 01 E6 A0"), 1000); err == nil; {
			_, err = m.conn.Write(many)
		}
	}()
	for stuck := false; !stuck; { // in the write of an answer
		select {
		case <-answers:
		case <-time.After(100 * time.Millisecond):
			stuck = true
		}
	}
	begin := time.Now()
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begin) > vmWriteTimeout/2 {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestPortOfASocketOnly(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if _, err := NewVMPort(ours); !errors.Is(err, socket.ErrNotSocket) {
		t.Error(err)
	}
	if _, err := theirs.Write([]byte{0}); err == nil {
		t.Error("it was not hung up on")
	}
}

func TestAddresses(t *testing.T) {
	type parsed struct{ Network, Name string }
	for address, want := range map[string]parsed{
		"unix:/run/ipmbd/host0.sock": {"unix", "/run/ipmbd/host0.sock"},
		"tcp:127.0.0.1:9002":         {"tcp", "127.0.0.1:9002"},
		"tcp:[::1]:9002":             {"tcp", "[::1]:9002"},
	} {
		network, name, err := ParseAddress(address)
		if diff := cmp.Diff(want, parsed{network, name}); diff != "" || err != nil {
			t.Errorf("%s: %v %s", address, err, diff)
		}
	}
	for _, address := range []string{"", "unix:run/x", "unix:", "tcp:9002", "tcp:0.0.0.0:9002", "tcp:localhost:9002", "udp:127.0.0.1:1", "/run/x"} {
		if network, name, err := ParseAddress(address); err == nil {
			t.Errorf("%q is %s %s", address, network, name)
		}
	}
}

// lacking is a listener whose next accepts fail.
type lacking struct {
	net.Listener
	fails  chan error
	failed chan struct{} // gets the last one; has room
}

func (l *lacking) Accept() (net.Conn, error) {
	select {
	case err := <-l.fails:
		if len(l.fails) == 0 {
			l.failed <- struct{}{}
		}
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", err)}
	default:
		return l.Listener.Accept()
	}
}

// TestAcceptThatFailsForTheMoment: the machine that is connected does not notice, and
// others connect later.
func TestAcceptThatFailsForTheMoment(t *testing.T) {
	for _, err := range []syscall.Errno{syscall.EMFILE, syscall.EPROTO} {
		t.Run(err.Error(), func(t *testing.T) {
			t.Parallel()
			inner, failed := Listen(t.Context(), "unix:"+filepath.Join(t.TempDir(), "vm"))
			if failed != nil {
				t.Fatal(failed)
			}
			listener := &lacking{inner, make(chan error, 2), make(chan struct{}, 1)}
			happened := make(chan VMEvent, 100)
			v := NewVM(Config{Handler: echo}, func(e VMEvent) { happened <- e })
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- v.Run(ctx, listener) }()
			first := connectMachine(t, inner.Addr())
			first.hears("FF 01 A1 00 A1")
			listener.fails <- err
			listener.fails <- err
			connectMachine(t, inner.Addr()) // It is disconnected, and the next accept fails.
			<-listener.failed
			first.says("01 18 01 E6 A0")
			first.hears("01 1C 01 00 E2 A0")
			first.conn.Close()
			for _, want := range []VMEvent{VMConnected, VMGone} {
				if got := <-happened; got != want {
					t.Errorf("happened: %v, want %v", got, want)
				}
			}
			second := connectMachine(t, inner.Addr())
			second.hears("FF 01 A1 00 A1")
			stop()
			if got := <-ended; !errors.Is(got, context.Canceled) {
				t.Errorf("Run: %v", got)
			}
		})
	}
}

func TestListenerThatIsBrokenEndsTheRun(t *testing.T) {
	inner, err := Listen(t.Context(), "unix:"+filepath.Join(t.TempDir(), "vm"))
	if err != nil {
		t.Fatal(err)
	}
	listener := &lacking{inner, make(chan error, 1), make(chan struct{}, 1)}
	listener.fails <- syscall.EINVAL
	if err := NewVM(Config{}, nil).Run(t.Context(), listener); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Run: %v", err)
	}
}

// TestMachineThatReadsLate: bytes that found no room in the socket come whole and in order.
func TestMachineThatReadsLate(t *testing.T) {
	big := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Data: make([]byte, VMMaxData)}, nil
	})
	v, address, _ := runVM(t, Config{Handler: big})
	m := connectMachine(t, address)
	m.hears("FF 01 A1 00 A1")
	const count = 1000
	for range count / 100 {
		if _, err := m.conn.Write(bytes.Repeat(octets("01 18 01 E6 A0"), 100)); err != nil {
			t.Fatal(err)
		}
	}
	var received uint64
	for taken := uint64(0); taken < count; {
		statistics := v.Loop().Statistics()
		received = statistics["requests-received"]
		taken = received + statistics["requests-dropped"]
		runtime.Gosched()
	}
	if received == count {
		t.Error("the socket has room for all")
	}
	want := appendVMResponse(nil, Response{Tag: 1, NetFn: 7, Command: 1, Data: make([]byte, VMMaxData)})
	got := make([]byte, len(want))
	for n := range received {
		if _, err := io.ReadFull(m.conn, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("answer %d: % X, %v", n, got, err)
		}
	}
	m.says("01 18 01 E6 A0")
	if _, err := io.ReadFull(m.conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the last answer: % X, %v", got, err)
	}
}
