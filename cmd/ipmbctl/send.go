package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// sendFlags are the flags of send.
type sendFlags struct {
	addr              string
	lun, requesterLUN uint8
	timeout           time.Duration
	tries             int
	failFast          bool
	broadcast         bool
}

func (a *app) sendCommand() *cobra.Command {
	var flags sendFlags
	command := &cobra.Command{
		Use:   "send BUS [ADDR] NETFN CMD [DATA...]",
		Short: "Send a request to a node on a bus and show the answer",
		Long: `Send a request to a node on a bus and show the answer: its completion code, its
data and, for Get Device ID, what they say.

ADDR is the node's address in its 8-bit form. Without it the request goes to the
bus's remote address, which 'ipmbctl list' shows. NETFN and CMD are names or
numbers, DATA are numbers, one for each byte. Numbers are written 44, 0x2C or 2Ch.

The first word after BUS is ADDR or NETFN, whichever can be: an address is 10h or
more, a network function is a name or an even number up to 0Ch or from 2Ch to
3Eh. What can be read both ways, such as 0x2C 6 1, is refused: say which it is
with --addr. Then there is no ADDR among the words; --addr 0 is the bus's remote
address.

The exit code is 3 when there is an answer with a completion code other than 0.`,
		Example: `  ipmbctl send bus0 app get-device-id
  ipmbctl send bus0 0x20 app get-device-id
  ipmbctl send bus0 0x06 0x01
  ipmbctl send bus0 72h storage get-sdr 0 0 0 0 0 0xff
  ipmbctl send bus0 --addr 2Ch 0x2e 0xdf 0x57 0x01 0x00
  ipmbctl send bus0 --timeout 1s --tries 1 chassis get-chassis-status`,
		Args:              sendArgs,
		ValidArgsFunction: a.completeBuses(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.send(command.Context(), args, flags)
		},
	}
	f := command.Flags()
	f.StringVar(&flags.addr, "addr", "", "`ADDR` of the node; 0 is the bus's remote address")
	f.Uint8Var(&flags.lun, "lun", 0, "`LUN` of the responder, 0 to 3")
	f.Uint8Var(&flags.requesterLUN, "requester-lun", 0, "`LUN` of the requester, 0 to 3")
	f.DurationVar(&flags.timeout, "timeout", 0, "how long each try waits: 10ms to 1m (default the bus's)")
	f.IntVar(&flags.tries, "tries", 0, "how often to try: 1 to 64 (default the bus's)")
	f.BoolVar(&flags.failFast, "fail-fast", false, "give up at once when nobody acknowledges the request")
	f.BoolVar(&flags.broadcast, "broadcast", false, "send to all nodes, ADDR answers (Get Device ID only)")
	return command
}

// sendArgs wants a bus; what follows it has better errors than a number.
func sendArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("no bus; 'ipmbctl list' shows the buses")
	}
	return nil
}

// request is the request that a command line asks for.
func (f sendFlags) request(words []string) (ipmb.Request, error) {
	m, err := parseMessage(words, f.addr)
	if err != nil {
		return ipmb.Request{}, err
	}
	if f.lun > uint8(ipmi.MaxLUN) || f.requesterLUN > uint8(ipmi.MaxLUN) {
		return ipmb.Request{}, usage("LUNs are 0 to %d", ipmi.MaxLUN)
	}
	policy, err := policyOf(f.tries, f.timeout)
	if err != nil {
		return ipmb.Request{}, err
	}
	return ipmb.Request{
		Responder: m.responder, NetFn: m.netFn, LUN: ipmi.LUN(f.lun), Command: m.command, Data: m.data,
		RequesterLUN: ipmi.LUN(f.requesterLUN), RetryPolicy: policy,
		FailFast: f.failFast, GeneralCall: f.broadcast,
	}, nil
}

// policyOf is a policy from the command line; what is 0 is the bus's.
func policyOf(tries int, timeout time.Duration) (ipmb.RetryPolicy, error) {
	switch {
	case timeout != 0 && (timeout < ipmb.MinTimeout || timeout > ipmb.MaxTimeout):
		return ipmb.RetryPolicy{}, usage("--timeout is %v to %v", ipmb.MinTimeout, ipmb.MaxTimeout)
	case tries < 0 || tries > ipmb.MaxTries:
		return ipmb.RetryPolicy{}, usage("--tries is 1 to %d", ipmb.MaxTries)
	}
	return ipmb.RetryPolicy{Tries: tries, Timeout: timeout}, nil
}

func (a *app) send(ctx context.Context, args []string, flags sendFlags) error {
	request, err := flags.request(args[1:])
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		bus, err := client.Bus(ctx, args[0])
		if err != nil {
			return err
		}
		if request.Responder == 0 {
			request.Responder = bus.RemoteAddress
		}
		begin := time.Now()
		response, err := client.Send(ctx, bus.Name, request)
		if err != nil {
			return &busError{bus, request.Responder, err}
		}
		if err := a.showAnswer(bus.Name, request, response, time.Since(begin)); err != nil {
			return err
		}
		if response.Code != ipmi.CodeOK {
			return errNotOK
		}
		return nil
	})
}

// sendJSON is the document of send.
type sendJSON struct {
	Bus       string `json:"bus"`
	Responder uint8  `json:"responder"`
	NetFn     uint8  `json:"netFn"`
	LUN       uint8  `json:"lun"`
	Command   uint8  `json:"command"`
	Name      string `json:"name"`
	answerJSON
	Milliseconds float64 `json:"milliseconds"`
}

func (a *app) showAnswer(bus string, r ipmb.Request, answer ipmi.Response, took time.Duration) error {
	if a.json {
		return a.out.json(sendJSON{
			Bus: bus, Responder: uint8(r.Responder), NetFn: uint8(r.NetFn), LUN: uint8(r.LUN),
			Command: uint8(r.Command), Name: commandName(r.NetFn, r.Command),
			answerJSON: newAnswerJSON(r.NetFn, r.Command, answer), Milliseconds: milliseconds(took),
		})
	}
	rows := [][]cell{
		field("request", fmt.Sprintf("%s %s", r.Responder, commandName(r.NetFn, r.Command))),
		{{text: "completion code"}, codeCell(r.NetFn, r.Command, answer.Code)},
	}
	rows = append(rows, dataFields("data", answer.Data)...)
	if device, ok := deviceOf(r.NetFn, r.Command, answer); ok {
		rows = append(rows, deviceFields(device)...)
	}
	fmt.Fprint(a.out, table(a.colourFor(a.stdout), rows))
	return nil
}

// commandName is the name of a command, or its numbers: "app get-device-id".
func commandName(n ipmi.NetFn, cmd ipmi.Command) string {
	return n.String() + " " + ipmi.CommandName(n, cmd)
}

// codeCell is a completion code and what it means: "C1h invalid command".
func codeCell(n ipmi.NetFn, cmd ipmi.Command, code ipmi.CompletionCode) cell {
	sgr := red
	if code == ipmi.CodeOK {
		sgr = green
	}
	return cell{fmt.Sprintf("%02Xh %s", uint8(code), code.Meaning(n, cmd)), sgr}
}

// deviceFields are what a Get Device ID answer says.
func deviceFields(d ipmi.DeviceID) [][]cell {
	device := fmt.Sprintf("%02Xh revision %d", d.ID, d.Revision)
	if d.ProvidesSDRs {
		device += ", with SDRs"
	}
	firmware := d.Firmware()
	if d.HasAuxiliary {
		firmware += fmt.Sprintf(" (auxiliary %X)", d.Auxiliary)
	}
	if d.Updating {
		firmware += ", updating or initializing"
	}
	return [][]cell{
		field("device", device),
		field("firmware", firmware),
		field("IPMI version", d.IPMIVersion()),
		field("manufacturer", fmt.Sprintf("%d (%06Xh)", d.Manufacturer, d.Manufacturer)),
		field("product", fmt.Sprintf("%d (%04Xh)", d.Product, d.Product)),
		field("supports", d.Support.String()),
	}
}
