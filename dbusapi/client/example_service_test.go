package client

import (
	"context"
	"fmt"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// ExampleService is an ipmbd on a message bus of its own. It has bus4, with a node at 2Ch.
type ExampleService struct {
	Address string // of the message bus

	t   *exampleT
	rig *rig
}

// StartExampleService starts an ipmbd for an example, which ends with Stop.
func StartExampleService() *ExampleService {
	t := &exampleT{}
	on := bustest.Start(t)
	return &ExampleService{on.Address, t, newRigOn(t, on)}
}

// Request is a request of the node. It returns the response.
func (s *ExampleService) Request(netFn ipmi.NetFn, cmd ipmi.Command, data ...byte) ipmi.Response {
	response, err := answerOf(s.rig.mux, &ipmi.Request{Interface: "bus4", Requester: 0x2C, NetFn: netFn, Command: cmd, Data: data})
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

// Event is a platform event of the node: sensor 30h is too hot.
func (s *ExampleService) Event() {
	s.rig.server.PlatformEvent(ipmi.Event{Interface: "bus4", Generator: 0x2C, Message: [7]byte{4, 1, 0x30, 1, 0x57, 0x60, 0x5F}})
}

// Stop stops the service and its message bus.
func (s *ExampleService) Stop() {
	for i := len(s.t.cleanups) - 1; i >= 0; i-- {
		s.t.cleanups[i]()
	}
}

// exampleT is the testing.TB of an example.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                           {}
func (t *exampleT) Context() context.Context          { return context.Background() }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
