package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/internal/bustest"
	"ipmbd/xml"
)

// The program that has the name may be about to end. Nothing of the machine is touched before.
func TestStartAwaitsTheBusNames(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	for _, name := range []string{xml.ServiceName, "xyz.openbmc_project.Ipmi.Channel.Other"} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t)
			owner := connect(t, bus)
			if _, err := owner.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
				t.Fatal(err)
			}
			config := oneBus(t)
			config.Channels[0].BusName = "Other"
			config.BMC.Folder = filepath.Join(t.TempDir(), "bmc")
			core, logs := observer.New(zap.InfoLevel)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- Run(ctx, Options{Config: config, Bus: bus.Address, Log: zap.New(core)}) }()
			logged(logs, "waiting for a bus name")
			if _, err := os.Stat(config.BMC.Folder); err == nil {
				t.Error("the folder of the BMC is there")
			}
			if text := logs.All()[0].ContextMap()["error"].(string); !strings.Contains(text, name+", by process") {
				t.Error(text)
			}
			if _, err := owner.ReleaseName(name); err != nil {
				t.Fatal(err)
			}
			logged(logs, "serving")
			cancel()
			if err := receive(t, "the end", done); err != nil {
				t.Error(err)
			}
		})
	}
}

// logged waits until a message is in the log.
func logged(logs *observer.ObservedLogs, message string) {
	for logs.FilterMessage(message).Len() == 0 {
		runtime.Gosched()
	}
}

func TestStartSaysThatTheMessageBusDoesNotAnswer(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{Config: oneBus(t), Bus: "unix:path=" + path, Log: zap.New(core)}) }()
	logged(logs, "the start waits")
	if fields := logs.All()[0].ContextMap(); fields["for"] != "the message bus to answer" || fields["bus"] != "unix:path="+path {
		t.Errorf("%v", fields)
	}
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Error(err)
	}
}
