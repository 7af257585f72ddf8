package hostd

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
)

// reply is the result of execute.
type reply struct {
	NetFn, LUN, Command, Code uint8
	Data                      []byte
}

// options are the options of an IPMB channel.
func options(rqSA, hostID any) map[string]dbus.Variant {
	return map[string]dbus.Variant{"rqSA": dbus.MakeVariant(rqSA), "hostId": dbus.MakeVariant(hostID)}
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// execute starts a call.
func execute(t *testing.T, conn *dbus.Conn, netFn, lun, cmd uint8, data []byte, o map[string]dbus.Variant) *dbus.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	object := conn.Object("xyz.openbmc_project.Ipmi.Host", "/xyz/openbmc_project/Ipmi")
	return object.GoWithContext(ctx, "xyz.openbmc_project.Ipmi.Server.execute", 0, make(chan *dbus.Call, 1),
		netFn, lun, cmd, data, o)
}

func answer(t *testing.T, call *dbus.Call) reply {
	t.Helper()
	<-call.Done
	var r reply
	if err := call.Store(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func counted(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestAnswers(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address)
	conn := connect(t, bus.Address)
	tests := []struct {
		name            string
		netFn, lun, cmd uint8
		data            []byte
		want            reply
	}{
		{"get device ID", 6, 0, 1, nil, reply{7, 0, 1, 0, []byte(DeviceID)}},
		{"the LUN comes back", 6, 2, 1, nil, reply{7, 2, 1, 0, []byte(DeviceID)}},
		{"a command that it does not know", 0x0A, 0, 0x43, []byte{1}, reply{0x0B, 0, 0x43, 0xC1, []byte{}}},
		{"a completion code", NetFn, 0, CommandCode, []byte{0xD4}, reply{0x31, 0, CommandCode, 0xD4, []byte{}}},
		{"data that are missing", NetFn, 0, CommandCode, nil, reply{0x31, 0, CommandCode, 0xC7, []byte{}}},
		{"a long answer", NetFn, 0, CommandLong, []byte{0x2C, 1}, reply{0x31, 0, CommandLong, 0, counted(300)}},
		{"a delay", NetFn, 1, CommandDelay, []byte{20, 0, 0xAB}, reply{0x31, 1, CommandDelay, 0, []byte{0xAB}}},
		{"an even network function", NetFn, 0, CommandEvenNetFn, nil, reply{0x30, 0, CommandEvenNetFn, 0, []byte{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := answer(t, execute(t, conn, tt.netFn, tt.lun, tt.cmd, tt.data, options(int32(0x16), int32(0))))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEchoShowsWhatArrived(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address)
	conn := connect(t, bus.Address)
	tests := []struct {
		name    string
		options map[string]dbus.Variant
		want    Request
	}{
		{"both options", options(int32(0x2C), int32(-1)), Request{RqSA: new(int32(0x2C)), HostID: new(int32(-1))}},
		{"no options", map[string]dbus.Variant{}, Request{}},
		{"another option", map[string]dbus.Variant{"channel": dbus.MakeVariant(uint8(1))}, Request{Others: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeEcho(answer(t, execute(t, conn, NetFn, 3, CommandEcho, []byte{1, 2, 3}, tt.options)).Data)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.NetFn, tt.want.LUN, tt.want.Command, tt.want.Data = NetFn, 3, CommandEcho, []byte{1, 2, 3}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address)
	conn := connect(t, bus.Address)
	tests := []struct {
		name    string
		cmd     uint8
		options map[string]dbus.Variant
		want    string
	}{
		{"the error asked for", CommandDBusError, nil, ErrorName},
		{"rqSA as a byte", CommandEcho, options(uint8(0x16), int32(0)), "org.freedesktop.DBus.Error.InvalidArgs"},
		{"hostId unsigned", CommandEcho, options(int32(0x16), uint32(0)), "org.freedesktop.DBus.Error.InvalidArgs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			call := execute(t, conn, NetFn, 0, tt.cmd, nil, tt.options)
			<-call.Done
			if err, ok := call.Err.(dbus.Error); !ok || err.Name != tt.want {
				t.Errorf("got %v, want %s", call.Err, tt.want)
			}
		})
	}
}

func TestWrongSignature(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address, WrongSignature)
	call := execute(t, connect(t, bus.Address), 6, 0, 1, nil, nil)
	<-call.Done
	if want := []any{"not what was asked for"}; !cmp.Equal(call.Body, want) {
		t.Errorf("got %v, %v, want %v", call.Body, call.Err, want)
	}
}

func TestDelaysOverlap(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address)
	conn := connect(t, bus.Address)
	silent := execute(t, conn, NetFn, 0, CommandSilence, nil, nil)
	slow := execute(t, conn, NetFn, 0, CommandDelay, []byte{0x60, 0xEA}, nil) // a minute
	quick := answer(t, execute(t, conn, NetFn, 0, CommandDelay, []byte{1, 0, 7}, nil))
	if !cmp.Equal(quick.Data, []byte{7}) {
		t.Errorf("got % X", quick.Data)
	}
	select {
	case <-silent.Done:
		t.Error("a request that asked for silence was answered")
	case <-slow.Done:
		t.Error("a request that asked for a minute was answered first")
	default:
	}
}

func TestExitEndsTheProcess(t *testing.T) {
	bus := bustest.Start(t)
	d := Start(t, bus.Address)
	call := execute(t, connect(t, bus.Address), NetFn, 0, CommandExit, nil, nil)
	<-call.Done
	if err, ok := call.Err.(dbus.Error); !ok || err.Name != "org.freedesktop.DBus.Error.NoReply" {
		t.Errorf("got %v, want NoReply", call.Err)
	}
	<-d.Done()
}

func TestArguments(t *testing.T) {
	bus := bustest.Start(t)
	d := Start(t, bus.Address, Print, DelayMS+"30")
	conn := connect(t, bus.Address)
	begin := time.Now()
	answer(t, execute(t, conn, 6, 1, 1, []byte{0xAB}, options(int32(0x16), int32(2))))
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	want := Request{conn.Names()[0], 6, 1, 1, []byte{0xAB}, new(int32(0x16)), new(int32(2)), 0}
	if diff := cmp.Diff(want, d.Next(t)); diff != "" {
		t.Error(diff)
	}
}

func TestSecondDaemonSaysWhyItEnds(t *testing.T) {
	bus := bustest.Start(t)
	Start(t, bus.Address).Stop()
	Start(t, bus.Address)
	if _, err := Open(bus.Address); err == nil || !strings.Contains(err.Error(), "Ipmi.Host") {
		t.Errorf("got %v", err)
	}
}

func TestRefusesOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs to be root to come as another user")
	}
	bus := bustest.Start(t)
	Start(t, bus.Address)
	call := execute(t, bustest.DialAs(t, bus.Address, 65534, 65534), 6, 0, 1, nil, nil)
	<-call.Done
	if err, ok := call.Err.(dbus.Error); !ok || err.Name != "org.freedesktop.DBus.Error.AccessDenied" {
		t.Errorf("got %v, want AccessDenied", call.Err)
	}
}
